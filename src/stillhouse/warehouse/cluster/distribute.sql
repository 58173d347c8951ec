-- Tables distributed over the data nodes. Described for users in docs/warehouse.md.
--
-- Tables are made and dropped with the caller's rights, here and, through his own user mapping, on the data nodes.
-- Names are resolved in pg_catalog only, on both sides alike. pg_temp stands last in the path, or it would come first:
-- a caller's temporary domain named `text` would be the type of our variables, and its check would run as the owner.

CREATE OR REPLACE FUNCTION stillhouse.data_nodes() RETURNS SETOF name
LANGUAGE sql STABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT s.srvname
      FROM pg_catalog.pg_foreign_server s
      JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw
     WHERE w.fdwname = 'postgres_fdw' AND s.srvname ~ '^dn[0-9]+$'
     ORDER BY pg_catalog.substr(s.srvname::text, 3)::int;
END;

-- 'accounts' is public.accounts, whatever the caller's search path.
CREATE OR REPLACE FUNCTION stillhouse.qualified(table_name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text[] := pg_catalog.parse_ident(table_name);
BEGIN
    IF pg_catalog.cardinality(parts) = 1 THEN
        parts := ARRAY['public', parts[1]];
    END IF;
    IF pg_catalog.cardinality(parts) <> 2 THEN
        RAISE EXCEPTION 'table name "%" must be table or schema.table', table_name USING ERRCODE = '42602';
    END IF;
    -- Room for the data node's name, which is added to name the partition: identifiers end at 63 bytes.
    IF pg_catalog.octet_length(parts[2]) > 50 THEN
        RAISE EXCEPTION 'table name "%" is longer than 50 bytes', parts[2] USING ERRCODE = '42622';
    END IF;
    RETURN parts;
END
$$;

-- Run `commands` on every data node in one transaction each, and commit them all once every one has succeeded.
--
-- With the owner's rights, since dblink is nobody else's: it would connect to whatever the host reaches. On the data
-- nodes the commands run as the role that the caller's user mapping names; nothing of them runs here.
CREATE OR REPLACE FUNCTION stillhouse.run_on_data_nodes(commands text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller name := CASE pg_catalog.current_setting('role')
                        WHEN 'none' THEN session_user ELSE pg_catalog.current_setting('role') END;
    node name;
    command text;
    opened text[] := '{}';
    link text;
    place text;
BEGIN
    FOR node IN SELECT stillhouse.data_nodes() LOOP
        link := 'stillhouse ' || node;
        SELECT pg_catalog.string_agg(
                   o.option_name || '=''' || pg_catalog.replace(
                       pg_catalog.replace(o.option_value, '\', '\\'), '''', '\''') || '''', ' ')
          INTO place
          FROM pg_catalog.pg_foreign_server s
          JOIN pg_catalog.pg_user_mapping m ON m.umserver = s.oid
          JOIN pg_catalog.pg_roles r ON r.oid = m.umuser
         CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_options_to_table(s.srvoptions)
                              UNION ALL
                             SELECT * FROM pg_catalog.pg_options_to_table(m.umoptions)) o
         WHERE s.srvname = node AND r.rolname = caller
           -- A server of somebody else's must not have the owner log in wherever he likes.
           AND s.srvowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
           AND o.option_name IN ('host', 'port', 'dbname', 'connect_timeout', 'user', 'password');
        IF place IS NULL THEN
            RAISE EXCEPTION 'user mapping not found for user "%", server "%"', caller, node
                USING ERRCODE = '42704';
        END IF;
        PERFORM stillhouse.dblink_connect(link, place);
        opened := opened || link;
        PERFORM stillhouse.dblink_exec(link, 'BEGIN');
        PERFORM stillhouse.dblink_exec(link, 'SET LOCAL search_path = ''''');
        PERFORM stillhouse.dblink_exec(link, 'SET LOCAL client_min_messages = warning');
        FOREACH command IN ARRAY commands LOOP
            PERFORM stillhouse.dblink_exec(link, command);
        END LOOP;
    END LOOP;
    FOREACH link IN ARRAY opened LOOP
        PERFORM stillhouse.dblink_exec(link, 'COMMIT');
    END LOOP;
    FOREACH link IN ARRAY opened LOOP
        PERFORM stillhouse.dblink_disconnect(link);
    END LOOP;
EXCEPTION WHEN query_canceled OR OTHERS THEN
    -- A link outlives the transaction; closing it rolls back what is not committed.
    FOREACH link IN ARRAY opened LOOP
        PERFORM stillhouse.dblink_disconnect(link);
    END LOOP;
    RAISE;
END
$$;

CREATE OR REPLACE FUNCTION stillhouse.create_distributed_table(
    table_name text, columns text, hash_column text, constraints text DEFAULT ''
) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text[] := stillhouse.qualified(table_name);
    target text := pg_catalog.format('%I.%I', parts[1], parts[2]);
    nodes name[] := ARRAY(SELECT stillhouse.data_nodes());
    commands text[] := '{}';
BEGIN
    IF pg_catalog.cardinality(nodes) = 0 THEN
        RAISE EXCEPTION 'this warehouse has no data nodes' USING ERRCODE = '55000';
    END IF;
    -- Here first: what is wrong with the definition is found before a data node has seen it.
    EXECUTE pg_catalog.format('CREATE TABLE %s (%s) PARTITION BY HASH (%I)', target, columns, hash_column);
    FOR place IN 1 .. pg_catalog.cardinality(nodes) LOOP
        EXECUTE pg_catalog.format(
            'CREATE FOREIGN TABLE %I.%I PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s)'
            ' SERVER %I OPTIONS (schema_name %L, table_name %L)',
            parts[1], parts[2] || '_' || nodes[place], target, pg_catalog.cardinality(nodes), place - 1,
            nodes[place], parts[1], parts[2]);
    END LOOP;
    IF parts[1] <> 'public' THEN
        commands := ARRAY[pg_catalog.format('CREATE SCHEMA IF NOT EXISTS %I', parts[1])];
    END IF;
    commands := commands || pg_catalog.format(
        'CREATE TABLE %s (%s)', target, pg_catalog.concat_ws(', ', columns, NULLIF(constraints, '')));
    PERFORM stillhouse.run_on_data_nodes(commands);
END
$$;

-- Also clears away what a rolled-back creation has left on the data nodes alone.
CREATE OR REPLACE FUNCTION stillhouse.drop_distributed_table(table_name text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text[] := stillhouse.qualified(table_name);
    target text := pg_catalog.format('%I.%I', parts[1], parts[2]);
BEGIN
    EXECUTE pg_catalog.format('DROP TABLE IF EXISTS %s', target);
    PERFORM stillhouse.run_on_data_nodes(ARRAY[pg_catalog.format('DROP TABLE IF EXISTS %s', target)]);
END
$$;
