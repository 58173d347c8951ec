-- Tables by their ids, as whole as the catalogs tell them: the thing, a part of it, how that is. Parameter: tree.
-- connoinherit of an index's constraint means nothing: it says how the constraint came to be.

WITH rel AS (
  SELECT c.*, format('%%I.%%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace
   WHERE c.oid = ANY(%(tree)s::oid[])
), seq AS (
  SELECT s.*, format('%%I.%%I', n.nspname, s.relname) AS name, d.refobjid, d.refobjsubid, d.deptype FROM pg_depend d JOIN pg_class s ON s.oid=d.objid AND s.relkind='S'
   JOIN pg_namespace n ON n.oid=s.relnamespace
   WHERE d.classid='pg_class'::regclass AND d.refclassid='pg_class'::regclass AND d.refobjid=ANY(%(tree)s::oid[]) AND d.deptype IN ('a','i')
), idx AS (
  SELECT i.*, c.relname, c.reloptions, c.reltablespace, c.oid AS coid, c.relkind, format('%%I.%%I', n.nspname, c.relname) AS name FROM pg_index i JOIN pg_class c ON c.oid=i.indexrelid JOIN pg_namespace n ON n.oid=c.relnamespace
   WHERE i.indrelid=ANY(%(tree)s::oid[]) 
)
SELECT 'table '||name, 'relation', concat_ws(' | ', relkind, relpersistence, (SELECT amname FROM pg_am WHERE oid=relam), reltablespace, (SELECT array_agg(o ORDER BY o) FROM unnest(reloptions) o)::text,
   (SELECT (SELECT array_agg(o ORDER BY o) FROM unnest(t.reloptions) o)::text FROM pg_class t WHERE t.oid=rel.reltoastrelid), relreplident, relrowsecurity, relforcerowsecurity, reloftype::regtype, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), relispartition, pg_get_userbyid(relowner),
   (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a)) FROM rel
UNION ALL
SELECT 'table '||rel.name, 'column '||(row_number() OVER (PARTITION BY rel.oid ORDER BY attnum)), concat_ws(' | ', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(d.adbin, d.adrelid), attidentity, attgenerated, attstorage, attcompression, attstattarget, attcollation::regcollation, (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) o WHERE o !~ '^pg_'), attfdwoptions, attislocal, attinhcount, (SELECT array_agg(x::text ORDER BY x::text) FROM unnest(attacl) x))
  FROM rel JOIN pg_attribute a ON attrelid=rel.oid AND attnum>0 AND NOT attisdropped LEFT JOIN pg_attrdef d ON d.adrelid=attrelid AND d.adnum=attnum
UNION ALL
SELECT 'table '||rel.name, 'constraint '||conname, concat_ws(' | ', contype, pg_get_constraintdef(k.oid), convalidated, to_jsonb(k)->>'conenforced', conislocal, coninhcount, connoinherit AND contype IN ('c', 'n'), condeferrable, condeferred, (SELECT p.conname FROM pg_constraint p WHERE p.oid=k.conparentid))
  FROM rel JOIN pg_constraint k ON k.conrelid=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'index '||idx.name, concat_ws(' | ', pg_get_indexdef(coid), indisvalid, indisclustered, indisreplident, idx.reltablespace, (SELECT array_agg(o ORDER BY o) FROM unnest(idx.reloptions) o), (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid=coid),
  (SELECT array_agg(concat(attstattarget, (SELECT array_agg(o ORDER BY o) FROM unnest(attoptions) o WHERE o !~ '^pg_')) ORDER BY attnum) FROM pg_attribute WHERE attrelid=coid)) FROM rel JOIN idx ON indrelid=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'trigger '|| CASE WHEN tgisinternal THEN (SELECT conname FROM pg_constraint WHERE oid=tgconstraint)||' '||tgfoid::regproc||' '||tgtype||' '||tgconstrrelid::regclass ELSE tgname END, concat_ws(' | ', CASE WHEN NOT tgisinternal THEN pg_get_triggerdef(t.oid) END, tgenabled, (SELECT p.tgname FROM pg_trigger p WHERE p.oid=t.tgparentid AND NOT t.tgisinternal)) FROM rel JOIN pg_trigger t ON tgrelid=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'rule '||rulename, concat_ws(' | ', pg_get_ruledef(r.oid), ev_enabled) FROM rel JOIN pg_rewrite r ON ev_class=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'policy '||polname, concat_ws(' | ', polpermissive, polcmd, (SELECT array_agg(x::regrole ORDER BY x::regrole::text) FROM unnest(polroles) x), pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM rel JOIN pg_policy ON polrelid=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'statistics '||stxname, concat_ws(' | ', pg_get_statisticsobjdef(s.oid), stxstattarget, stxowner::regrole) FROM rel JOIN pg_statistic_ext s ON stxrelid=rel.oid
UNION ALL
SELECT 'table '||rel.name, 'inherits '||inhseqno, concat_ws(' | ', inhparent::regclass, to_jsonb(i)->>'inhdetachpending') FROM rel JOIN pg_inherits i ON inhrelid=rel.oid
UNION ALL
SELECT 'sequence '||seq.name, 'is', concat_ws(' | ', relpersistence, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle, refobjid::regclass, refobjsubid, deptype, relowner::regrole, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) a)) FROM seq JOIN pg_sequence q ON seqrelid=seq.oid
UNION ALL
SELECT 'comment', (pg_identify_object(d.classoid, d.objoid, d.objsubid)).type||' '||(pg_identify_object(d.classoid, d.objoid, d.objsubid)).identity, description FROM pg_description d
 WHERE (classoid='pg_class'::regclass AND objoid IN (SELECT oid FROM rel UNION SELECT oid FROM seq UNION SELECT coid FROM idx))
  OR (classoid='pg_constraint'::regclass AND objoid IN (SELECT oid FROM pg_constraint WHERE conrelid IN (SELECT oid FROM rel)))
  OR (classoid='pg_trigger'::regclass AND objoid IN (SELECT oid FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM rel)))
  OR (classoid='pg_rewrite'::regclass AND objoid IN (SELECT oid FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM rel)))
  OR (classoid='pg_policy'::regclass AND objoid IN (SELECT oid FROM pg_policy WHERE polrelid IN (SELECT oid FROM rel)))
  OR (classoid='pg_statistic_ext'::regclass AND objoid IN (SELECT oid FROM pg_statistic_ext WHERE stxrelid IN (SELECT oid FROM rel)))
  OR (classoid='pg_type'::regclass AND objoid IN (SELECT reltype FROM rel UNION SELECT typarray FROM pg_type WHERE oid IN (SELECT reltype FROM rel)))
  OR (classoid='pg_attrdef'::regclass AND objoid IN (SELECT oid FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM rel)))
UNION ALL
SELECT 'label', s.provider||' '||(pg_identify_object(s.classoid, s.objoid, s.objsubid)).identity, label FROM pg_seclabel s WHERE objoid IN (SELECT oid FROM rel UNION SELECT oid FROM seq)
UNION ALL
SELECT 'depends', (pg_identify_object(classid, objid, objsubid)).identity, (pg_identify_object(refclassid, refobjid, refobjsubid)).identity||' '||deptype::text FROM pg_depend WHERE deptype IN ('x','e') AND ((classid='pg_class'::regclass AND objid IN (SELECT oid FROM rel UNION SELECT oid FROM seq UNION SELECT coid FROM idx)) OR (classid='pg_trigger'::regclass AND objid IN (SELECT oid FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM rel))))
ORDER BY 1,2,3
