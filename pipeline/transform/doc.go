// Package transform turns a source's batches into records of the standard schemas: mapping, rules, and the masking of what is
// personal.
//
// A Shape holds everything that shapes rows in a project: schemas, code lists, regions, and each stream's mapping as its YAML
// declares it. Check lists what is wrong with it; Compile makes a Program, whose Mappings do the work. Shapes marshal
// canonically, so that a hash names one and whoever repeats a flush shapes its rows in the same way (PROTOCOL, L2).
//
// A batch passes a Mapping twice. In the department's process Ingress leaves only the columns that the mapping, its filters or
// keep name, checks the rules on personal fields and masks those: nothing else reaches Kafka. In the loader Apply makes the
// records. Every source row ends in exactly one of loaded (it has a record), quarantined (it breaks a rule; all of them are
// named) and filtered. Both may be called from several goroutines at once. They know no clock and no randomness: the same
// batch and the same shape give the same bytes, whatever was mapped before.
//
// Work is done by column. All steps are defined over the canonical text of a cell (ISO dates, plain decimals, true and false),
// and columns that have the right type already take shorter ways to the same result. So a quarantined row, kept as texts,
// comes out of a replay as it would have the first time. Codes, regions and lookups are resolved once for each distinct text
// and stretch of time in which its meaning holds. Only expressions run row by row.
//
// All records and columns belong to whoever gets them and are released by them; what is passed in is never released.
package transform
