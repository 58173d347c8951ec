-- Tables of many odd kinds, in schemas k, k2 and one with a name of its own: what a restore of tables must bring back.

CREATE ROLE kowner;
CREATE ROLE kother;
CREATE EXTENSION btree_gist SCHEMA public;
CREATE EXTENSION lo SCHEMA public;
CREATE SCHEMA k AUTHORIZATION kowner;
CREATE SCHEMA k2 AUTHORIZATION kowner;
SET SESSION AUTHORIZATION kowner;
CREATE TYPE k.mood AS ENUM ('sad','ok','glad');
CREATE DOMAIN k.pos AS int CHECK (VALUE > 0);
CREATE TYPE k.pair AS (a int, b text);
CREATE FUNCTION k.f(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 + 1;
CREATE FUNCTION k.tg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
-- values
CREATE TABLE k.vals (id int PRIMARY KEY, f4 float4, f8 float8, n numeric, d date, ts timestamptz, iv interval, m
    money, c "char", a int[], txt text[], j jsonb, x xml, b bytea, bits bit varying, r int4range, mr int4multirange,
    rc regclass, rp regproc, rr regrole, rn regnamespace, rt regtype, rq regclass, p k.pair, e k.mood, po k.pos, t
    timetz, o oid, lo public.lo, u uuid, ip inet, pt point, nm name, tsv tsvector, js json, acl aclitem, pl pg_lsn, xi
    xid8);
INSERT INTO k.vals (id,
    f4,f8,n,d,ts,iv,m,c,a,txt,j,x,b,bits,r,mr,rc,rp,rr,rn,rt,rq,p,e,po,t,o,u,ip,pt,nm,tsv,js,pl,xi) VALUES
(1,'0.1','0.1',1e100,'infinity','infinity','-1 mons +2 days -03:00:00.5', '1234.5', '', '{1,NULL,3}',
    '{NULL,"NULL",""," "}', '{"a": "\u00e9\n"}', null, '\x00ff5c', B'101', '[1,2]', '{[1,2),[5,6)}', 'k.vals', 'k.f',
    'kother', 'k', 'k.mood', 'pg_class', (1,E'x"\\\t'), 'ok', 5, '12:00:00+05', 4294967295, gen_random_uuid(),
    '10.0.0.0/8', '(1e300,-0)', 'n', 'a b', '{"z": 1 , "z": 2}', '16/B374D848', '123'),
(2,'NaN','-Infinity','NaN','-infinity','4714-11-24 00:00:00 BC','178000000
    years',null,'z','{}','{}','null',null,'','',
    'empty','{}',null,null,null,null,null,null,null,'sad',null,null,null,null,null,null,null,null,null,null,null);
-- constraints
CREATE TABLE k.checks (id int, v int, w int, x int NOT NULL, day daterange);
INSERT INTO k.checks VALUES (1,-1,-1,1,'[2020-01-01,2020-02-01)'),(2,2,-2,1,'[2020-03-01,2020-04-01)');
ALTER TABLE k.checks ADD CONSTRAINT v_pos CHECK (v > 0) NOT VALID;
ALTER TABLE k.checks ADD CONSTRAINT w_noinh CHECK (w < 0) NO INHERIT;
ALTER TABLE k.checks ADD CONSTRAINT ex EXCLUDE USING gist (day WITH &&) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE k.checks ADD CONSTRAINT uq UNIQUE NULLS NOT DISTINCT (id, x) INCLUDE (v);
COMMENT ON CONSTRAINT v_pos ON k.checks IS 'c1';
CREATE TABLE k.refs (id int, rid int, rx int);
INSERT INTO k.refs VALUES (1, 77, 77);
ALTER TABLE k.refs ADD CONSTRAINT fk_nv FOREIGN KEY (rid, rx) REFERENCES k.checks (id, x) NOT VALID;
ALTER TABLE k.refs ADD CONSTRAINT fk_ok FOREIGN KEY (id, rx) REFERENCES k.checks (id, x) NOT VALID;
-- indexes
CREATE TABLE k.idx (id int, v int, s text);
INSERT INTO k.idx SELECT g, g % 3, 's'||g FROM generate_series(1,30) g;
CREATE INDEX idx_e ON k.idx ((k.f(v)), s text_pattern_ops) WITH (fillfactor=50);
ALTER INDEX k.idx_e ALTER COLUMN 1 SET STATISTICS 77;
CREATE UNIQUE INDEX idx_u ON k.idx (id);
ALTER TABLE k.idx ALTER id SET NOT NULL;
ALTER TABLE k.idx REPLICA IDENTITY USING INDEX idx_u;
ALTER TABLE k.idx CLUSTER ON idx_e;
COMMENT ON INDEX k.idx_e IS 'i';
CREATE STATISTICS k.st (ndistinct, mcv) ON v, (k.f(v)) FROM k.idx;
ALTER STATISTICS k.st SET STATISTICS 55;
COMMENT ON STATISTICS k.st IS 'stc';
ALTER TABLE k.idx ALTER v SET STATISTICS 0, ALTER s SET STORAGE MAIN, ALTER s SET COMPRESSION pglz, ALTER v SET
    (n_distinct=-0.5, n_distinct_inherited=3);
ALTER TABLE k.idx SET (toast.autovacuum_enabled=off, toast_tuple_target=256, parallel_workers=3);
COMMENT ON TYPE k.idx IS 'row type';
-- triggers, rules
CREATE TABLE k.trg (id int PRIMARY KEY, alt int UNIQUE DEFERRABLE, up int REFERENCES k.trg);
CREATE TRIGGER t_d BEFORE INSERT ON k.trg FOR EACH ROW EXECUTE FUNCTION k.tg();
ALTER TABLE k.trg DISABLE TRIGGER t_d;
CREATE TRIGGER t_r BEFORE INSERT ON k.trg FOR EACH ROW WHEN (NEW.id > 3) EXECUTE FUNCTION k.tg('a');
ALTER TABLE k.trg ENABLE REPLICA TRIGGER t_r;
CREATE TRIGGER t_a AFTER UPDATE ON k.trg REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION k.tg();
ALTER TABLE k.trg ENABLE ALWAYS TRIGGER t_a;
CREATE CONSTRAINT TRIGGER t_c AFTER INSERT ON k.trg DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION
    k.tg();
COMMENT ON TRIGGER t_c ON k.trg IS 'tc';
CREATE RULE r_d AS ON DELETE TO k.trg DO ALSO NOTHING;
ALTER TABLE k.trg DISABLE RULE r_d;
COMMENT ON RULE r_d ON k.trg IS 'rc';
CREATE RULE r_r AS ON UPDATE TO k.trg WHERE old.id < 0 DO INSTEAD NOTHING;
ALTER TABLE k.trg ENABLE REPLICA RULE r_r;
RESET SESSION AUTHORIZATION;
CREATE TABLE k.trg2 (id int PRIMARY KEY, up int REFERENCES k.trg2, CONSTRAINT dd UNIQUE (up) DEFERRABLE);
ALTER TABLE k.trg2 OWNER TO kowner;
ALTER TABLE k.trg2 DISABLE TRIGGER ALL;
SET SESSION AUTHORIZATION kowner;
-- rls
CREATE TABLE k.rls (id int);
ALTER TABLE k.rls FORCE ROW LEVEL SECURITY;
CREATE POLICY p1 ON k.rls AS RESTRICTIVE FOR UPDATE TO kother, CURRENT_USER USING (id > 0) WITH CHECK (id < 5);
COMMENT ON POLICY p1 ON k.rls IS 'pc';
INSERT INTO k.rls VALUES (1);
-- inheritance
CREATE TABLE k.par (a int, b int CHECK (b > 0), CONSTRAINT pc CHECK (a > 0));
CREATE TABLE k.par2 (b int, z int);
CREATE TABLE k.chi (own text, a int) INHERITS (k.par, k.par2);
ALTER TABLE k.par ADD COLUMN late int DEFAULT 5;
ALTER TABLE k.chi ALTER late SET DEFAULT 6;
CREATE TABLE k.chi2 (own text, b int, a int, late int, CONSTRAINT par_b_check CHECK (b > 0), CONSTRAINT pc CHECK (a >
    0));
ALTER TABLE k.chi2 INHERIT k.par;
CREATE TABLE k.chi3 () INHERITS (k.par);
ALTER TABLE k.chi3 ALTER late DROP DEFAULT, ALTER a SET NOT NULL, ADD CONSTRAINT own3 CHECK (a < 100);
INSERT INTO k.chi (own,a,b,z,late) VALUES ('x',1,2,3,4);
INSERT INTO k.chi2 VALUES ('y',2,1,3);
INSERT INTO k.chi3 VALUES (9,9,9);
COMMENT ON CONSTRAINT pc ON k.chi IS 'inherited c';
COMMENT ON COLUMN k.chi.late IS 'late';
-- partitions
CREATE TABLE k.part (id int GENERATED BY DEFAULT AS IDENTITY, day date NOT NULL, v int DEFAULT 1, s text, CHECK (v <
    1000)) PARTITION BY RANGE (day);
CREATE TABLE k.part_a PARTITION OF k.part (v DEFAULT 2, CHECK (v > 0)) FOR VALUES FROM ('2020-01-01') TO
    ('2021-01-01') WITH (fillfactor=60);
CREATE TABLE k2.part_b (extra_dropped int, s text, v int, id int NOT NULL, day date NOT NULL, CONSTRAINT part_v_check
    CHECK (v < 1000));
ALTER TABLE k2.part_b DROP extra_dropped;
ALTER TABLE k.part ATTACH PARTITION k2.part_b FOR VALUES FROM ('2021-01-01') TO (MAXVALUE);
CREATE TABLE k.part_d PARTITION OF k.part DEFAULT PARTITION BY HASH (v);
CREATE TABLE k.part_d0 PARTITION OF k.part_d FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE k.part_d1 PARTITION OF k.part_d FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX part_i ON k.part (v);
CREATE INDEX part_only ON ONLY k.part (s);
CREATE INDEX part_a_s ON k.part_a (s);
ALTER INDEX k.part_only ATTACH PARTITION k.part_a_s;
CREATE INDEX part_a_own ON k.part_a (s, v);
COMMENT ON INDEX k.part_a_v_idx IS 'leaf idx';
ALTER INDEX k.part_a_v_idx RENAME TO renamed_leaf;
ALTER INDEX k.renamed_leaf SET (fillfactor=40);
CREATE TRIGGER pt AFTER INSERT ON k.part FOR EACH ROW EXECUTE FUNCTION k.tg();
ALTER TABLE k.part_a DISABLE TRIGGER pt;
ALTER TABLE ONLY k.part DISABLE TRIGGER pt;
COMMENT ON TRIGGER pt ON k.part_a IS 'trigger clone';
COMMENT ON CONSTRAINT part_v_check ON k.part_a IS 'inherited check';
CREATE TABLE k.tgt (id int PRIMARY KEY);
INSERT INTO k.tgt VALUES (1);
ALTER TABLE k.part ADD CONSTRAINT pfk FOREIGN KEY (v) REFERENCES k.tgt;
COMMENT ON CONSTRAINT pfk ON k.part_a IS 'fk clone';
ALTER TABLE k.part_a ALTER v SET STATISTICS 9, ALTER s SET STORAGE PLAIN;
ALTER TABLE k.part_a REPLICA IDENTITY FULL;
INSERT INTO k.part (day,v) VALUES ('2020-05-05',1),('2022-05-05',1),('2019-05-05',1);
CREATE TABLE k.henum (e k.mood, v int) PARTITION BY HASH (e);
CREATE TABLE k.henum0 PARTITION OF k.henum FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE k.henum1 PARTITION OF k.henum FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO k.henum VALUES ('sad',1),('ok',2),('glad',3);
-- odd tables
CREATE TABLE k.bulky (a int[]);
INSERT INTO k.bulky SELECT array_fill(7, ARRAY[4500000]);
CREATE TABLE k.empty ();
INSERT INTO k.empty DEFAULT VALUES;
INSERT INTO k.empty DEFAULT VALUES;
CREATE TABLE k.gen (a int, g int GENERATED ALWAYS AS (k.f(a)) STORED, h text GENERATED ALWAYS AS ('h'||a::text)
    STORED);
INSERT INTO k.gen VALUES (1),(2);
CREATE TABLE k.onlygen (g int GENERATED ALWAYS AS (7) STORED);
INSERT INTO k.onlygen DEFAULT VALUES;
CREATE TABLE k.typed OF k.pair (PRIMARY KEY (a), b WITH OPTIONS DEFAULT 'd');
INSERT INTO k.typed VALUES (1);
CREATE TABLE k.seqs (a serial, b bigint GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT BY -3 MAXVALUE 10 MINVALUE
    -1000 CYCLE CACHE 5), c smallserial);
CREATE SEQUENCE k.extra OWNED BY k.seqs.a;
SELECT setval('k.extra', 55, false);
COMMENT ON SEQUENCE k.extra IS 'sq';
ALTER SEQUENCE k.seqs_c_seq SET UNLOGGED;
INSERT INTO k.seqs DEFAULT VALUES;
INSERT INTO k.seqs DEFAULT VALUES;
GRANT SELECT ON k.extra TO kother;
CREATE TABLE k.drops (a int, b int, c text);
ALTER TABLE k.drops DROP b;
INSERT INTO k.drops VALUES (1,'c');
ALTER TABLE k.drops ADD d int DEFAULT 42;
GRANT SELECT (c) ON k.drops TO kother;
GRANT ALL ON k.drops TO PUBLIC;
REVOKE INSERT ON k.drops FROM kowner;
CREATE TABLE k.self (id int, me k.drops, arr k.drops[]);
INSERT INTO k.self VALUES (1, (1,'x',3), ARRAY[(1,'y',4)::k.drops]);
CREATE TABLE k.usrcat (a int) WITH (user_catalog_table=true);
RESET SESSION AUTHORIZATION;
INSERT INTO pg_seclabel SELECT 'k.idx'::regclass, 'pg_class'::regclass, 0, 'anon', 'MASKED';

CREATE EXTENSION file_fdw SCHEMA public;
CREATE SERVER fsrv FOREIGN DATA WRAPPER file_fdw;
GRANT USAGE ON FOREIGN SERVER fsrv TO kowner;
CREATE SCHEMA "k ""3." AUTHORIZATION kowner;
GRANT pg_read_server_files TO kowner;
SET SESSION AUTHORIZATION kowner;
-- inheritance
CREATE TABLE k.i1 (a int NOT NULL, b int);
CREATE TABLE k.i2 (own text) INHERITS (k.i1);
CREATE TABLE k.i3 (own3 text) INHERITS (k.i2);
ALTER TABLE k.i1 ADD COLUMN c int NOT NULL DEFAULT 3;
INSERT INTO k.i1 VALUES (-1,1,1);
INSERT INTO k.i2 (a,b,c,own) VALUES (-1,2,3,'x');
INSERT INTO k.i3 (a,b,c,own,own3) VALUES (-1,2,3,'x','y');
ALTER TABLE k.i1 ADD CONSTRAINT i1c CHECK (a > 0) NOT VALID;
ALTER TABLE k.i1 ADD CONSTRAINT i1d CHECK (b > 0);
ALTER TABLE k.i2 ADD CONSTRAINT i2d CHECK (c > 0);
ALTER TABLE ONLY k.i1 ADD CONSTRAINT i1ni CHECK (a < 5) NO INHERIT;
ALTER TABLE k.i2 ALTER c SET DEFAULT 9;
ALTER TABLE k.i3 ALTER c DROP DEFAULT;
CREATE TABLE k.m0 (x int);
CREATE TABLE k.ma (ya int) INHERITS (k.m0);
CREATE TABLE k.mb (yb int) INHERITS (k.m0);
CREATE TABLE k.mc (zc int) INHERITS (k.ma, k.mb);
ALTER TABLE k.m0 ADD w text DEFAULT 'w';
INSERT INTO k.mc VALUES (1,2,3,4,'q');
CREATE TABLE k.h1 (a int, b int);
CREATE TABLE k.h2 () INHERITS (k.h1);
ALTER TABLE k.h2 NO INHERIT k.h1;
ALTER TABLE k.h2 INHERIT k.h1;
CREATE TABLE k.h3 (b int, a int);
ALTER TABLE k.h3 INHERIT k.h1;
CREATE TABLE k.h4 () INHERITS (k.h3);
ALTER TABLE k.h1 ADD z int;
CREATE FOREIGN TABLE k.hf (a int, b int, z int) SERVER fsrv OPTIONS (filename '/dev/null');
ALTER FOREIGN TABLE k.hf INHERIT k.h1;
CREATE TABLE k.ig (a int, g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE k.ig2 () INHERITS (k.ig);
INSERT INTO k.ig2 VALUES (1);
-- partitions: fk both sides, triggers off
CREATE TABLE k.pr (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE k.pr1 PARTITION OF k.pr FOR VALUES FROM (0) TO (10);
CREATE TABLE k.pr2 PARTITION OF k.pr FOR VALUES FROM (10) TO (20);
CREATE TABLE k.pf (id int, rid int REFERENCES k.pr ON DELETE CASCADE) PARTITION BY LIST (id);
CREATE TABLE k.pf1 PARTITION OF k.pf FOR VALUES IN (1);
CREATE TABLE k.pf2 PARTITION OF k.pf FOR VALUES IN (2);
ALTER TABLE k.pf1 ADD FOREIGN KEY (id) REFERENCES k.pr1;
INSERT INTO k.pr VALUES (1),(11);
INSERT INTO k.pf VALUES (1,11);
CREATE TABLE k.sp (id int, up int, PRIMARY KEY (id), FOREIGN KEY (up) REFERENCES k.sp) PARTITION BY HASH (id);
CREATE TABLE k.sp0 PARTITION OF k.sp FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE k.sp1 PARTITION OF k.sp FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO k.sp VALUES (1,NULL),(2,1),(3,2);
RESET SESSION AUTHORIZATION;
ALTER TABLE k.pf DISABLE TRIGGER ALL;
ALTER TABLE k.pr1 DISABLE TRIGGER ALL;
ALTER TABLE k.sp1 DISABLE TRIGGER ALL;
SET SESSION AUTHORIZATION kowner;
-- partition histories
CREATE TABLE k.ph (id int, v int CHECK (v > 0), s text DEFAULT 'r') PARTITION BY LIST (id);
CREATE TABLE k.ph1 PARTITION OF k.ph (v NOT NULL, s DEFAULT 'x', CONSTRAINT ph_v_check CHECK (v > 0), CONSTRAINT own1
    CHECK (id < 10)) FOR VALUES IN (1);
CREATE TABLE k.ph2 (LIKE k.ph INCLUDING ALL);
ALTER TABLE k.ph ATTACH PARTITION k.ph2 FOR VALUES IN (2);
ALTER TABLE k.ph DETACH PARTITION k.ph1;
ALTER TABLE k.ph ATTACH PARTITION k.ph1 FOR VALUES IN (1);
CREATE TABLE k.ph3 PARTITION OF k.ph FOR VALUES IN (3);
ALTER TABLE k.ph ADD z int DEFAULT 7;
ALTER TABLE k.ph3 ALTER z DROP DEFAULT;
ALTER TABLE k.ph3 ALTER s DROP DEFAULT;
CREATE UNLOGGED TABLE k.phu PARTITION OF k.ph FOR VALUES IN (4);
CREATE FOREIGN TABLE k.phf PARTITION OF k.ph FOR VALUES IN (5) SERVER fsrv OPTIONS (filename '/dev/null', format
    'csv');
CREATE TRIGGER own BEFORE INSERT ON k.ph2 FOR EACH ROW EXECUTE FUNCTION k.tg();
CREATE INDEX phm ON ONLY k.ph (v);
CREATE INDEX phm1 ON k.ph1 (v);
ALTER INDEX k.phm ATTACH PARTITION k.phm1;
CREATE STATISTICS k2.phs ON id, v FROM k.ph;
CREATE STATISTICS k.phs1 ON v, (id+1) FROM k.ph1;
INSERT INTO k.ph VALUES (1,1),(2,2);
INSERT INTO k.ph VALUES (3,3,'t',4);
CREATE TABLE k.puk (a int NOT NULL, b int) PARTITION BY LIST (a);
CREATE TABLE k.puk1 PARTITION OF k.puk FOR VALUES IN (1);
CREATE TABLE k.puk2 PARTITION OF k.puk FOR VALUES IN (2);
ALTER TABLE ONLY k.puk ADD CONSTRAINT puk_pk PRIMARY KEY (a);
ALTER TABLE k.puk1 ADD CONSTRAINT puk1_odd PRIMARY KEY (a);
ALTER INDEX k.puk_pk ATTACH PARTITION k.puk1_odd;
ALTER TABLE k.puk1 REPLICA IDENTITY USING INDEX puk1_odd;
ALTER TABLE k.puk1 CLUSTER ON puk1_odd;
CREATE TABLE k.big2 (a int, b int) PARTITION BY RANGE (a, (b+1));
CREATE TABLE k.big2a PARTITION OF k.big2 FOR VALUES FROM (1, MINVALUE) TO (2, MAXVALUE) PARTITION BY LIST
    (lower(b::text));
CREATE TABLE k.big2a1 PARTITION OF k.big2a FOR VALUES IN ('1', NULL);
CREATE UNIQUE INDEX ON k.big2a1 (a);
CREATE INDEX big2i ON k.big2 (a) WITH (fillfactor=33);
INSERT INTO k.big2 VALUES (1,1);
-- cross
CREATE TABLE k.x1 (id int PRIMARY KEY, o int);
CREATE TABLE k.x2 (id int PRIMARY KEY, o int REFERENCES k.x1);
ALTER TABLE k.x1 ADD FOREIGN KEY (o) REFERENCES k.x2 DEFERRABLE INITIALLY DEFERRED;
CREATE RULE xr AS ON INSERT TO k.x1 DO ALSO INSERT INTO k.x2 VALUES (new.id, NULL);
CREATE POLICY xp ON k.x1 USING (EXISTS (SELECT FROM k.x2 WHERE x2.id = x1.id));
ALTER TABLE k.x1 ENABLE ROW LEVEL SECURITY;
CREATE TABLE k.x3 (a serial, b int DEFAULT nextval('k.x3_a_seq'), r regclass DEFAULT 'k.x2'::regclass);
INSERT INTO k.x3 DEFAULT VALUES;
INSERT INTO k.x3 (r) VALUES ('k.x3'), ('k.x3_a_seq');
CREATE CONSTRAINT TRIGGER xc AFTER INSERT ON k.x1 FROM k.x2 DEFERRABLE FOR EACH ROW EXECUTE FUNCTION k.tg();
CREATE TABLE "k ""3."."t
new'line"" ." ("c ""1" int PRIMARY KEY, "ü%s{}\" text DEFAULT E'\\.\n', "select" int); INSERT INTO "k ""3."."t
new'line"" ." VALUES (1, E'\\.'), (2, E'\\N\t\r\n\b'); COMMENT ON TABLE "k ""3."."t
new'line"" ." IS E'multi\nline';
CREATE TABLE k.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (id serial PRIMARY KEY,
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa int UNIQUE);
DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE k.wide (' || string_agg('c'||g||' int DEFAULT '||g, ',') || ')' FROM
    generate_series(1,400) g); END $$;
INSERT INTO k.wide DEFAULT VALUES;
CREATE TABLE k.dep (a int);
CREATE INDEX depi ON k.dep (a);
CREATE TRIGGER dept BEFORE INSERT ON k.dep FOR EACH ROW EXECUTE FUNCTION k.tg();
RESET SESSION AUTHORIZATION;
ALTER INDEX k.depi DEPENDS ON EXTENSION btree_gist;
ALTER TRIGGER dept ON k.dep DEPENDS ON EXTENSION btree_gist;
