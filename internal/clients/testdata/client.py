"""What a BI tool does with clickhouse-connect: connects, looks at the catalogue, asks with a parameter, reads a large result, cancels."""
import json
import os
import threading

import clickhouse_connect

host, port = os.environ["CH_ADDRESS"].rsplit(":", 1)
database = os.environ["CH_DATABASE"]


def connect():
    return clickhouse_connect.get_client(
        host=host, port=int(port), username=os.environ["CH_USER"], password=os.environ["CH_PASSWORD"], database=database)


c = connect()
out = {"databases": [r[0] for r in c.query("SHOW DATABASES").result_rows]}
out["tables"] = dict(c.query("SELECT name, comment FROM system.tables WHERE database = {d:String}", parameters={"d": database}).result_rows)
out["columns"] = dict(c.query(
    "SELECT name, comment FROM system.columns WHERE database = {d:String} AND table = 'indicator_rollup'", parameters={"d": database}).result_rows)
found = c.query("SELECT name FROM region WHERE code = {r:String} ORDER BY name LIMIT 1", parameters={"r": os.environ["CH_REGION"]}).result_rows
out["region"] = found[0][0] if found else ""
out["known"] = [r[0] for r in c.query(
    "SELECT value FROM indicator_rollup_as_of(day = {day:Date}) WHERE indicator = 'I' AND region = '330100'", parameters={"day": "2024-05-06"}).result_rows]
rows = total = 0
with c.query_row_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as stream:
    for block in stream:
        for number, text in block:
            rows += 1
            total += number + len(text)
out["rows"], out["sum"] = rows, total
try:
    c.command("INSERT INTO region (code) VALUES ('990000')")
    out["refused"] = ""
except Exception as e:
    out["refused"] = str(e)

ended = []


def long():
    try:
        connect().query(os.environ["CH_LONG"], settings={"query_id": "the-long-one"})
        ended.append(False)
    except Exception:
        ended.append(True)


t = threading.Thread(target=long)
t.start()
while True:  # the test has a bound of its own
    if c.query("SELECT count() FROM system.processes WHERE query LIKE '%the long one%' AND query NOT LIKE '%system.processes%'").first_row[0]:
        break
c.command("KILL QUERY WHERE query_id = 'the-long-one' ASYNC")
t.join(60)
out["cancelled"] = ended == [True]
print(json.dumps(out))
