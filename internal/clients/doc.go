// Package clients runs clients that nobody here wrote against the warehouse, as BI tools have them in them: the official ClickHouse
// JDBC driver, clickhouse-connect for Python and @clickhouse/client for Node. The tests are built with the tag `clients`, by
// `make test-clients`: they need Java, Python and Node.
package clients
