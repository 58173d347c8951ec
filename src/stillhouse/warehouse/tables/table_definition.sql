-- Everything in some schemas: each time a relation, a thing that it has, and how that is. Two servers answer alike where
-- the relations are defined alike. Expressions are left out, since PostgreSQL prints some otherwise once it has read them
-- again; ids as well, and the numbers of columns, since columns that were dropped have some. Options of columns whose
-- names begin with pg_ are left out too: the server writes those by itself (pg_attver, a position in its own WAL, since
-- the minor releases of November 2026), and pg_dump leaves them out.

WITH relation AS (
    SELECT c.*, n.nspname || '.' || c.relname AS name
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
     WHERE n.nspname = ANY(%s) AND (c.relkind <> 'i' OR i.indisvalid AND i.indisready)
)
SELECT name, 'relation',
       concat_ws(' ', relkind, relpersistence, (SELECT amname FROM pg_am WHERE oid = relam),
                 (SELECT spcname FROM pg_tablespace WHERE oid = reltablespace),
                 ARRAY(SELECT o FROM unnest(reloptions) o ORDER BY o),
                 ARRAY(SELECT o FROM pg_class t, unnest(t.reloptions) o WHERE t.oid = relation.reltoastrelid ORDER BY o),
                 relreplident, relrowsecurity, relforcerowsecurity, reloftype::regtype, relispartition,
                 (SELECT concat_ws(' ', s.srvname, ARRAY(SELECT o FROM unnest(f.ftoptions) o ORDER BY o))
                    FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = relation.oid))
  FROM relation
UNION ALL
SELECT name, 'column ' || attname,
       concat_ws(' ', row_number() OVER (PARTITION BY attrelid ORDER BY attnum), format_type(atttypid, atttypmod),
                 attcollation::regcollation, attnotnull, atthasdef, attidentity, attgenerated, attstorage,
                 attcompression, attstattarget, ARRAY(SELECT o FROM unnest(attoptions) o WHERE o !~ '^pg_' ORDER BY o),
                     ARRAY(SELECT o FROM unnest(attfdwoptions) o ORDER BY o), attislocal, attinhcount)
  FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
 WHERE relkind NOT IN ('S', 'i', 'I')
UNION ALL
SELECT name, 'column of index ' || attnum, concat_ws(' ', attstattarget, ARRAY(SELECT o FROM unnest(attoptions) o WHERE o !~ '^pg_' ORDER BY o))
  FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 WHERE relkind IN ('i', 'I')
UNION ALL
SELECT name, 'constraint ' || conname,
       concat_ws(' ', contype, conkey IS NULL, condeferrable, condeferred, convalidated,
                 to_jsonb(k) ->> 'conenforced', conislocal, coninhcount, connoinherit AND contype IN ('c', 'n'))
  FROM relation JOIN pg_constraint k ON conrelid = relation.oid WHERE contype <> 'f' OR conparentid = 0
UNION ALL
SELECT name, 'index',
       concat_ws(' ', indrelid::regclass, indnatts, indnkeyatts, indisunique, indnullsnotdistinct, indisprimary,
                 indisexclusion, indimmediate, indisclustered, indisvalid, indisreplident)
  FROM relation JOIN pg_index ON indexrelid = relation.oid
UNION ALL
SELECT name, 'trigger ' || CASE WHEN tgisinternal THEN 'of ' || conname || tgfoid::regproc || tgtype ELSE tgname END,
       concat_ws(' ', tgfoid::regprocedure, tgtype, tgenabled, tgdeferrable, tginitdeferred, tgparentid <> 0)
  FROM relation JOIN pg_trigger ON tgrelid = relation.oid LEFT JOIN pg_constraint k ON k.oid = tgconstraint
 WHERE NOT tgisinternal OR tgenabled <> 'O' AND k.conrelid IN (SELECT oid FROM relation)
UNION ALL
SELECT name, 'rule ' || rulename, concat_ws(' ', ev_type, ev_enabled, is_instead)
  FROM relation JOIN pg_rewrite ON ev_class = relation.oid
UNION ALL
SELECT name, 'policy ' || polname, concat_ws(' ', polcmd, polpermissive, ARRAY(SELECT r::regrole::text FROM unnest(polroles) r ORDER BY 1))
  FROM relation JOIN pg_policy ON polrelid = relation.oid
UNION ALL
SELECT name, 'statistics ' || stxname, concat_ws(' ', cardinality(stxkeys::int2[]), stxkind, stxstattarget)
  FROM relation JOIN pg_statistic_ext ON stxrelid = relation.oid
UNION ALL
SELECT name, 'part of', concat_ws(' ', inhparent::regclass, row_number() OVER (PARTITION BY inhrelid ORDER BY inhseqno))
  FROM relation JOIN pg_inherits ON inhrelid = relation.oid
UNION ALL
SELECT name, 'sequence',
       concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle,
                 d.refobjid::regclass, a.attname, d.deptype)
  FROM relation JOIN pg_sequence ON seqrelid = relation.oid
  LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = relation.oid AND d.deptype IN ('a', 'i')
  LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
UNION ALL
SELECT name, 'comment on ' || place, description
  FROM relation
  CROSS JOIN LATERAL (SELECT 'pg_class'::regclass, relation.oid, 'itself'
            UNION ALL SELECT 'pg_type'::regclass, relation.reltype, 'its type'
            UNION ALL SELECT 'pg_constraint'::regclass, oid, 'constraint ' || conname FROM pg_constraint WHERE conrelid = relation.oid
            UNION ALL SELECT 'pg_trigger'::regclass, oid, 'trigger ' || tgname FROM pg_trigger
                       WHERE tgrelid = relation.oid AND NOT tgisinternal
            UNION ALL SELECT 'pg_rewrite'::regclass, oid, 'rule ' || rulename FROM pg_rewrite WHERE ev_class = relation.oid
            UNION ALL SELECT 'pg_policy'::regclass, oid, 'policy ' || polname FROM pg_policy WHERE polrelid = relation.oid
            UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 'statistics ' || stxname FROM pg_statistic_ext
                       WHERE stxrelid = relation.oid) thing (class, id, place)
  JOIN pg_description ON classoid = class AND objoid = id
