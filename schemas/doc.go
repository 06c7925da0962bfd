// Package schemas is the single source of what records look like: the language of standard schemas, the standard model
// itself, code lists, indicators, and the regions of the country with their history.
//
// A Set holds everything that a project agrees on. Standard returns the set that ships with Headwater; Load adds a
// project's own schemas and code lists to it, WithRegions exchanges the regions (ImportRegions reads a published list). A Set
// and all that it hands out are immutable and safe for use from many goroutines. It serialises canonically: the same
// content gives the same bytes, so that its hash can name it.
//
// From one Schema come its Arrow schema, its ClickHouse table, its column comments and its JSON Schema, so that they cannot
// disagree. Compare says whether a changed schema can migrate a table that is there.
//
// Regions answers which code held when: Resolve turns names, old codes and the many ways of writing both into the code that
// held on a day.
package schemas
