package sql

// testedOn is the day on which the tests of each connector last passed when somebody looked.
var testedOn = map[string]string{"postgres": "2026-11-27", "mariadb": "2026-11-27", "sqlite": "2026-11-27"}

// keptTypes are the types in which the kit's tests store each kind of value, and from which it must arrive with all its digits. More
// types stand in docs/connectors/sql.md.
var keptTypes = map[string]map[string]string{
	"postgres": {
		"decimal(38, 10)": "numeric(38,10)", "unsigned 64-bit": "numeric(20,0)", "signed 64-bit": "bigint", "date": "date", "time without a zone": "timestamp",
		"instant": "timestamptz", "far instant": "timestamptz", "double": "float8", "not a number": "float8", "10 MB of text": "text",
	},
	"mariadb": {
		"decimal(38, 10)": "decimal(38,10)", "unsigned 64-bit": "bigint unsigned", "signed 64-bit": "bigint", "date": "date", "time without a zone": "datetime(6)",
		"instant": "timestamp(6) NULL", "double": "double", "10 MB of text": "longtext",
	},
	"sqlite": {
		"signed 64-bit": "integer", "date": "date", "time without a zone": "datetime", "far instant": "datetime", "double": "real", "10 MB of text": "text",
	},
}
