// Package clickhouse is the embedded warehouse: the ClickHouse engine as a shared library, run in a process of its own and
// spoken to over ClickHouse's HTTP interface, so that the loader, BI tools and curl use it exactly as they use a server.
// It is for first use and for tests; production is a ClickHouse server by address.
//
// [Fetch] brings the library to this machine once; [Serve] opens it on a data folder and answers requests until its context
// ends. A process can serve one folder only, because the engine is one to a process: run Serve in a child process.
//
// A request gets an engine session of its own (a connection costs a fraction of a millisecond), so nothing that one request
// sets reaches another, unless both name the same session_id. A result never stands in memory as a whole: the engine writes
// it into a pipe, in any of its formats, as fast as the client reads. The body of an INSERT is received completely, into a
// file when it is large, before the engine sees its first byte, so a client that dies half-way has inserted nothing.
//
// There are two users: the configured one, and "reader", whose sessions cannot write. Functions, table functions, engines
// and settings that reach outside the data folder are refused to both.
package clickhouse
