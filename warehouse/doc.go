// Package warehouse is Headwater's side of ClickHouse: it creates the tables that the standard schemas describe, takes
// blocks of records exactly once, keeps the account of every row (ledger and quarantine), and holds the views that analysts
// query.
//
// Open connects, Migrate brings the database to what a schema set says, Sync fills the tables of regions and indicators.
// A loader then calls, for each flush (PROTOCOL, L1 to L11): Missing on a replay, Insert for each table, Landed after it,
// WriteQuarantine, WriteLedger; and Checkpoint where committed offsets are lost. Everybody else asks: Query for SQL, and the
// typed reports for the program's own screens.
//
// A Warehouse is safe for use from many goroutines. Its errors carry a fault kind; Classify tells what one means for the
// rows that were on their way. Records that it returns belong to the caller, or, where they come from an iterator, are valid
// until the next step.
package warehouse
