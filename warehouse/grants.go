package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/headwater-data/headwater/schemas"
)

// Role is a set of rights on a warehouse and the user who has them.
type Role struct {
	Name string // of the role
	User string // of its user, who may not have the role's name: GRANT … TO could mean both
	For  string // what the user does, for people
	// Grants are the rights, each as GRANT says it without its first word and its TO: "SELECT ON db.*".
	Grants []string
	// Exact says that the role has these rights and no others: what it had before is taken away.
	Exact bool
	// Limits are statements that bound what the role's rights show: row policies, a settings profile, a quota. They come before
	// the rights, so that no right is ever there without its limit.
	Limits []string
}

// Roles are the roles that a warehouse needs, each with the least rights that suffice: the tests take away one after the
// other. The names of roles begin with the database's, so that several warehouses fit into one server.
func Roles(database string, set *schemas.Set) []Role {
	db := quoteName(database)
	// Headwater looks at what is there before it changes anything. A server shows in system.tables and system.columns only what
	// the user has some right on.
	looks := []string{
		"SELECT(name, engine, sorting_key, partition_key, comment, database, metadata_modification_time) ON system.tables",
		"SELECT(table, name, type, default_expression, comment, database, position) ON system.columns",
		"SELECT(name, database, table, active, modification_time, level) ON system.parts",
		"SELECT(name) ON system.settings",
	}
	// Every table is read back after it was written. The check of doubtful flushes puts their keys into a table of its own.
	loads := []string{
		"SELECT ON " + db + ".*",
		"INSERT ON " + db + ".*",
		"ALTER DELETE ON " + db + ".figure_mark", // when the figures that were marked are put together
		"CREATE TABLE, DROP TABLE ON " + db + "." + scratchPrefix + "*",
		"TABLE ENGINE ON Memory",
	}
	defines := []string{
		"CREATE DATABASE ON " + db + ".*",
		"CREATE TABLE ON " + db + ".*", // which CREATE VIEW is part of
		"TABLE ENGINE ON ReplacingMergeTree",
		"DROP VIEW ON " + db + ".*", // CREATE OR REPLACE makes the new one under a name of its own, swaps and drops
		"DROP TABLE ON " + db + "._tmp_replace_*",
		"ALTER ADD COLUMN, ALTER MODIFY COLUMN, ALTER COMMENT COLUMN, ALTER MODIFY COMMENT ON " + db + ".*",
	}
	// A replay fills a table beside the one in force and exchanges the two, for which a server asks for the right to drop both.
	rebuilds := []string{
		"SELECT(name, engine) ON system.databases",
		"DROP TABLE ON " + db + ".*",
	}
	var reads []string
	for _, table := range set.Names() {
		schema, _ := set.Schema(table)
		switch name := schema.TableName(); name {
		case "audit", "undecodable":
			// Who changed what, and the raw bytes of damaged messages, are for those who operate.
		case "shape", "run":
			// Configurations and the words of errors are nothing for analysts, but the view freshness tells how runs ended.
			if name == "run" {
				reads = append(reads, "SELECT("+strings.Join(narrowTables[name], ", ")+") ON "+db+".run")
			}
		case "quarantine":
			// The columns of rows that broke a rule stay out of sight; the views freshness and data_quality_scorecard count them.
			reads = append(reads, "SELECT("+strings.Join(narrowTables[name], ", ")+") ON "+db+".quarantine")
		default:
			reads = append(reads, "SELECT ON "+db+"."+quoteName(name))
		}
	}
	reads = append(reads, "SELECT ON "+db+".region_path", "SELECT ON "+db+".region_today", "SELECT ON "+db+".figure", "SELECT ON "+db+".figure_report")
	for _, view := range slices.Concat(Views, DatedViews, []string{factView}) {
		if view != "quarantine_open" {
			reads = append(reads, "SELECT ON "+db+"."+view)
		}
	}
	return []Role{
		{Name: database + "_loader_role", User: database + "_loader", For: "makes and changes the tables, and loads", Grants: slices.Concat(looks, loads, defines)},
		{Name: database + "_operator_role", User: database + "_operator", For: "loads, once the tables are there; cannot make or change any", Grants: slices.Concat(looks, loads)},
		{Name: database + "_rebuilder_role", User: database + "_rebuilder", For: "replays: makes tables anew and exchanges them", Grants: slices.Concat(looks, loads, defines, rebuilds)},
		{Name: database + "_reader_role", User: database + "_reader", For: "reads tables and views for BI, without what is in quarantine", Grants: reads},
	}
}

// Statements are what an administrator of a server runs to make the role and its user. With a certificate the user logs in with
// one whose common name is the user's; else the user can log in from nowhere until the administrator has given a password,
// which no statement of ours should hold.
func (r Role) Statements(certificate bool) []string {
	name, user := quoteName(r.Name), quoteName(r.User)
	statements := []string{"CREATE ROLE IF NOT EXISTS " + name}
	if r.Exact {
		statements = append(statements, "REVOKE ALL ON *.* FROM "+name)
	}
	statements = append(statements, r.Limits...)
	for _, grant := range r.Grants {
		statements = append(statements, "GRANT "+grant+" TO "+name)
	}
	login := "HOST NONE"
	if certificate {
		login = "IDENTIFIED WITH ssl_certificate CN " + quoteText(r.User)
	}
	return append(statements,
		fmt.Sprintf("CREATE USER IF NOT EXISTS %s %s", user, login),
		"GRANT "+name+" TO "+user, // which makes it a default role
	)
}

// Apply makes the roles and their users on the warehouse's server, and may be repeated. The warehouse's user must be one who may
// grant. It returns how many statements the server has taken.
func (w *Warehouse) Apply(ctx context.Context, roles []Role, certificate bool) (int, error) {
	n := 0
	for _, r := range roles {
		for _, statement := range r.Statements(certificate) {
			if err := w.exec(ctx, statement, statement); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// Script writes all roles as one script.
func Script(roles []Role, certificate bool) string {
	var b strings.Builder
	for i, r := range roles {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "-- %s: %s.\n", r.User, r.For)
		for _, s := range r.Statements(certificate) {
			b.WriteString(s + ";\n")
		}
		if !certificate {
			fmt.Fprintf(&b, "-- Then: ALTER USER %s IDENTIFIED WITH sha256_password BY '…' HOST ANY;\n", quoteName(r.User))
		}
	}
	return b.String()
}
