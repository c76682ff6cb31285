/// The tables of the index.
///
/// Versions are found by `versions`, whose rows are short, and described in `objects`, where new ones stand at the end.
/// What changes often (`stripes`: what of it lives) stands apart from what is long (`layouts`).
enum Schema {
    /// "ZIDX"; SQLite keeps both in the file's header.
    static let application: Int64 = 0x5a49_4458
    /// Raised with every change of the tables; an index of another version is made anew.
    static let version: Int64 = 1

    static let tables = """
        CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), height INTEGER NOT NULL, next INTEGER NOT NULL,
            chain BLOB NOT NULL, accounts BLOB NOT NULL);
        CREATE TABLE singles(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE names(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
        CREATE TABLE buckets(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
            created INTEGER NOT NULL, versioning INTEGER NOT NULL);
        CREATE TABLE settings(bucket INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
            PRIMARY KEY(bucket, name)) WITHOUT ROWID;
        CREATE TABLE access_keys(id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE generations(number INTEGER PRIMARY KEY, wrapped BLOB NOT NULL);

        CREATE TABLE versions(bucket INTEGER NOT NULL, key BLOB NOT NULL, sequence INTEGER NOT NULL,
            kind INTEGER NOT NULL, PRIMARY KEY(bucket, key, sequence DESC)) WITHOUT ROWID;
        CREATE TABLE objects(sequence INTEGER PRIMARY KEY, size INTEGER NOT NULL, etag NOT NULL,
            time INTEGER NOT NULL, owner INTEGER NOT NULL, attributes BLOB, parts BLOB, segments BLOB);
        CREATE TABLE uploads(number INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, key BLOB NOT NULL,
            time INTEGER NOT NULL, owner INTEGER NOT NULL, attributes BLOB, seal BLOB NOT NULL);
        CREATE UNIQUE INDEX uploads_by_key ON uploads(bucket, key, number);
        CREATE TABLE parts(upload INTEGER NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag NOT NULL,
            time INTEGER NOT NULL, attributes BLOB, segments BLOB, PRIMARY KEY(upload, number)) WITHOUT ROWID;

        CREATE TABLE manifests(number INTEGER PRIMARY KEY, size INTEGER NOT NULL, uses INTEGER NOT NULL,
            pieces BLOB NOT NULL, keys BLOB NOT NULL);
        CREATE INDEX manifests_unused ON manifests(number) WHERE uses = 0;
        CREATE TABLE chunks(id BLOB PRIMARY KEY, stripe INTEGER NOT NULL, offset INTEGER NOT NULL,
            length INTEGER NOT NULL, plain INTEGER NOT NULL, codec INTEGER NOT NULL, uses INTEGER NOT NULL,
            fingerprint BLOB, key BLOB) WITHOUT ROWID;
        CREATE INDEX chunks_unused ON chunks(id) WHERE uses = 0;
        CREATE INDEX chunks_by_fingerprint ON chunks(fingerprint) WHERE fingerprint IS NOT NULL;

        CREATE TABLE stripes(number INTEGER PRIMARY KEY, id BLOB NOT NULL, k INTEGER NOT NULL, m INTEGER NOT NULL,
            length INTEGER NOT NULL, shard_length INTEGER NOT NULL, created INTEGER NOT NULL,
            live_bytes INTEGER NOT NULL, live_chunks INTEGER NOT NULL, dying INTEGER,
            missing INTEGER NOT NULL, draining INTEGER NOT NULL, shards BLOB NOT NULL,
            priority INTEGER AS (CASE WHEN dying IS NOT NULL THEN NULL WHEN missing > 0 THEN m - missing
                WHEN draining > 0 THEN 1000 + m ELSE NULL END),
            live_permille INTEGER AS (CASE WHEN dying IS NOT NULL OR live_chunks = 0 OR live_bytes >= length
                THEN NULL ELSE live_bytes * 1000 / length END));
        CREATE UNIQUE INDEX stripes_by_id ON stripes(id);
        CREATE INDEX stripes_empty ON stripes(number) WHERE live_chunks = 0 AND dying IS NULL;
        CREATE INDEX stripes_dying ON stripes(dying, number) WHERE dying IS NOT NULL;
        CREATE INDEX stripes_to_repair ON stripes(priority, number) WHERE priority IS NOT NULL;
        CREATE INDEX stripes_to_pack ON stripes(live_permille, number) WHERE live_permille IS NOT NULL;
        CREATE TABLE layouts(stripe INTEGER PRIMARY KEY, roots BLOB NOT NULL, chunks BLOB NOT NULL);
        CREATE TABLE shards(backend INTEGER NOT NULL, stripe INTEGER NOT NULL, place INTEGER NOT NULL,
            PRIMARY KEY(backend, stripe, place)) WITHOUT ROWID;
        CREATE TABLE backends(number INTEGER PRIMARY KEY, value BLOB NOT NULL, state INTEGER NOT NULL,
            bytes INTEGER NOT NULL, shards INTEGER NOT NULL);
        """
}
