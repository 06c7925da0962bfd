// What a BI tool does with @clickhouse/client: connects, looks at the catalogue, asks with a parameter, reads a large result, cancels.
import { createClient } from '@clickhouse/client'

const database = process.env.CH_DATABASE
const client = createClient({
  url: `http://${process.env.CH_ADDRESS}`, username: process.env.CH_USER, password: process.env.CH_PASSWORD, database,
})

async function ask(query, query_params = {}) {
  return (await client.query({ query, query_params, format: 'JSONEachRow' })).json()
}

const named = (rows) => Object.fromEntries(rows.map((r) => [r.name, r.comment]))
const out = { databases: (await ask('SHOW DATABASES')).map((r) => r.name) }
out.tables = named(await ask('SELECT name, comment FROM system.tables WHERE database = {d:String}', { d: database }))
out.columns = named(await ask("SELECT name, comment FROM system.columns WHERE database = {d:String} AND table = 'indicator_rollup'", { d: database }))
const found = await ask('SELECT name FROM region WHERE code = {r:String} ORDER BY name LIMIT 1', { r: process.env.CH_REGION })
out.region = found.length ? found[0].name : ''
const known = await ask("SELECT value FROM indicator_rollup_as_of(day = {day:Date}) WHERE indicator = 'I' AND region = '330100'", { day: '2024-05-06' })
out.known = known.map((r) => Number(r.value))
out.rows = 0
out.sum = 0
const large = await client.query({ query: 'SELECT number, toString(number) AS text FROM numbers(1000000)', format: 'JSONCompactEachRow' })
for await (const rows of large.stream()) {
  for (const row of rows) {
    const [number, text] = row.json()
    out.rows++
    out.sum += Number(number) + text.length
  }
}
try {
  await client.command({ query: "INSERT INTO region (code) VALUES ('990000')" })
  out.refused = ''
} catch (e) {
  out.refused = e.message
}
const stop = new AbortController()
const long = client.query({ query: process.env.CH_LONG, format: 'JSONEachRow', abort_signal: stop.signal })
  .then((r) => r.text()).then(() => false, () => true)
let runs = false
while (!runs) { // the test has a bound of its own
  const [{ n: count }] = await ask("SELECT count() AS n FROM system.processes WHERE query LIKE '%the long one%' AND query NOT LIKE '%system.processes%'")
  runs = Number(count) > 0
}
stop.abort()
out.cancelled = await long
await client.close()
console.log(JSON.stringify(out))
