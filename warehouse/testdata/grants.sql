-- headwater_loader: makes and changes the tables, and loads.
CREATE ROLE IF NOT EXISTS `headwater_loader_role`;
GRANT SELECT(name, engine, sorting_key, partition_key, comment, database, metadata_modification_time) ON system.tables TO `headwater_loader_role`;
GRANT SELECT(table, name, type, default_expression, comment, database, position) ON system.columns TO `headwater_loader_role`;
GRANT SELECT(name, database, table, active, modification_time, level) ON system.parts TO `headwater_loader_role`;
GRANT SELECT(name) ON system.settings TO `headwater_loader_role`;
GRANT SELECT ON `headwater`.* TO `headwater_loader_role`;
GRANT INSERT ON `headwater`.* TO `headwater_loader_role`;
GRANT CREATE TABLE, DROP TABLE ON `headwater`._scratch_* TO `headwater_loader_role`;
GRANT TABLE ENGINE ON Memory TO `headwater_loader_role`;
GRANT CREATE DATABASE ON `headwater`.* TO `headwater_loader_role`;
GRANT CREATE TABLE ON `headwater`.* TO `headwater_loader_role`;
GRANT TABLE ENGINE ON ReplacingMergeTree TO `headwater_loader_role`;
GRANT DROP VIEW ON `headwater`.* TO `headwater_loader_role`;
GRANT DROP TABLE ON `headwater`._tmp_replace_* TO `headwater_loader_role`;
GRANT ALTER ADD COLUMN, ALTER MODIFY COLUMN, ALTER COMMENT COLUMN, ALTER MODIFY COMMENT ON `headwater`.* TO `headwater_loader_role`;
CREATE USER IF NOT EXISTS `headwater_loader` HOST NONE;
GRANT `headwater_loader_role` TO `headwater_loader`;
-- Then: ALTER USER `headwater_loader` IDENTIFIED WITH sha256_password BY '…' HOST ANY;

-- headwater_operator: loads, once the tables are there; cannot make or change any.
CREATE ROLE IF NOT EXISTS `headwater_operator_role`;
GRANT SELECT(name, engine, sorting_key, partition_key, comment, database, metadata_modification_time) ON system.tables TO `headwater_operator_role`;
GRANT SELECT(table, name, type, default_expression, comment, database, position) ON system.columns TO `headwater_operator_role`;
GRANT SELECT(name, database, table, active, modification_time, level) ON system.parts TO `headwater_operator_role`;
GRANT SELECT(name) ON system.settings TO `headwater_operator_role`;
GRANT SELECT ON `headwater`.* TO `headwater_operator_role`;
GRANT INSERT ON `headwater`.* TO `headwater_operator_role`;
GRANT CREATE TABLE, DROP TABLE ON `headwater`._scratch_* TO `headwater_operator_role`;
GRANT TABLE ENGINE ON Memory TO `headwater_operator_role`;
CREATE USER IF NOT EXISTS `headwater_operator` HOST NONE;
GRANT `headwater_operator_role` TO `headwater_operator`;
-- Then: ALTER USER `headwater_operator` IDENTIFIED WITH sha256_password BY '…' HOST ANY;

-- headwater_reader: reads tables and views for BI, without what is in quarantine.
CREATE ROLE IF NOT EXISTS `headwater_reader_role`;
GRANT SELECT ON `headwater`.`hotline_case` TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.`indicator` TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.`ledger` TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.`observation` TO `headwater_reader_role`;
GRANT SELECT(source, stream, status, _deleted) ON `headwater`.quarantine TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.`region` TO `headwater_reader_role`;
GRANT SELECT(source, outcome, started_at, run, _deleted) ON `headwater`.run TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.`target` TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.region_path TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.observation_current TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.target_current TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.observation_placed TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.indicator_rollup TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.indicator_reconciliation TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.ledger_balance TO `headwater_reader_role`;
GRANT SELECT ON `headwater`.freshness TO `headwater_reader_role`;
CREATE USER IF NOT EXISTS `headwater_reader` HOST NONE;
GRANT `headwater_reader_role` TO `headwater_reader`;
-- Then: ALTER USER `headwater_reader` IDENTIFIED WITH sha256_password BY '…' HOST ANY;
