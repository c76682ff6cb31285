internal import Glibc
internal import Synchronization

/// The index of a store: an SQLite database derived from the store's log, ordered by keys.
///
/// One writer applies operations; any number of threads read what was committed last, each at one moment, without waiting.
public final class ObjectIndex: Sendable {
    /// What memory it may take.
    public struct Settings: Sendable {
        /// Of the writer's pages, KiB.
        public var writerCache = 16 << 10
        /// Of one reader's pages, KiB.
        public var readerCache = 2 << 10
        /// Readers that are kept open when nobody reads.
        public var idleReaders = 64
        /// Pages of 4 KiB in the write-ahead log before they are carried into the file.
        public var checkpointPages = 4096

        /// The usual ones.
        public init() {}
    }

    /// Applies operations. One thread at a time.
    public let writer: IndexWriter
    private let file: IndexFile
    private let settings: Settings
    /// Readers that nobody uses, spread over several locks: with one, threads would stand in line for it.
    private let idle = (0..<16).map { _ in IdleViews() }

    private final class IdleViews: Sendable {
        let views = Mutex<[IdleView]>([])
    }

    /// The lock of this thread.
    private var mine: IdleViews { idle[Int(bitPattern: UInt(pthread_self()) >> 12) & 15] }

    /// Protected by the mutex it is in: who takes it out has it alone.
    private struct IdleView: @unchecked Sendable { let view: IndexView }

    /// Opens the index of a store, or makes an empty one; without a path in memory, until nobody holds it.
    public init(path: String?, settings: Settings = Settings()) throws(IndexError) {
        if let path { file = IndexFile(path) } else { file = try IndexFile() }
        self.settings = settings
        let connection = try Connection(file, write: true)
        try ObjectIndex.prepare(connection, settings)
        writer = try IndexWriter(connection)
    }

    /// Opens a copy that `snapshot` made, in place of whatever is at the path.
    public convenience init(
        restoring snapshot: String, path: String?, settings: Settings = Settings()
    ) throws(IndexError) {
        let target = path.map { IndexFile($0) }
        if let path { ObjectIndex.remove(path) }
        let file = if let target { target } else { try IndexFile() }
        do {
            // The first connection keeps a temporary file; the copy is complete before anybody opens it as an index.
            let copy = try Connection(file, write: true)
            try Connection(IndexFile(snapshot), write: false).copy(to: copy)
        }
        try self.init(file: file, settings: settings)
    }

    private init(file: IndexFile, settings: Settings) throws(IndexError) {
        (self.file, self.settings) = (file, settings)
        let connection = try Connection(file, write: true)
        try ObjectIndex.prepare(connection, settings)
        writer = try IndexWriter(connection)
    }

    /// Removes the files of an index that nobody has open.
    public static func remove(_ path: String) { IndexFile.remove(path) }

    /// Reads at one moment: what is committed meanwhile is not seen. Threads do not wait for each other.
    public func withReader<Result>(
        _ body: (IndexView) throws(IndexError) -> Result
    ) throws(IndexError) -> Result {
        let view: IndexView
        let idle = mine
        if let known = idle.views.withLock({ $0.popLast() }) {
            view = known.view
        } else {
            let connection = try Connection(file, write: false)
            try connection.execute("PRAGMA cache_size=-\(settings.readerCache); PRAGMA query_only=1")
            view = IndexView(connection)
        }
        try view.connection.run("BEGIN")
        let result: Result
        do { result = try body(view) } catch {
            // A connection that cannot even end its reading is closed.
            if (try? view.connection.run("ROLLBACK")) != nil { giveBack(view, idle) }
            throw error
        }
        try view.connection.run("COMMIT")
        giveBack(view, idle)
        return result
    }

    private func giveBack(_ view: IndexView, _ idle: IdleViews) {
        let entry = IdleView(view: view)
        idle.views.withLock { if $0.count < settings.idleReaders / 16 { $0.append(entry) } }
    }

    /// A complete copy of what was committed last, in a new file, without gaps; readers and the writer go on.
    public func snapshot(to path: String) throws(IndexError) {
        ObjectIndex.remove(path)
        let connection = try Connection(file, write: false)
        try connection.run("VACUUM INTO ?", .text(path))
    }

    /// Where a copy stands that `snapshot` made.
    public static func position(ofCopy path: String) throws(IndexError) -> IndexPosition {
        try IndexView(Connection(IndexFile(path), write: false)).position()
    }

    /// Bytes of the index.
    public func fileBytes() throws(IndexError) -> Int64 {
        try withReader { (view) throws(IndexError) in
            let pages = try view.connection.first("PRAGMA page_count") { $0.int(0) } ?? 0
            return try pages * (view.connection.first("PRAGMA page_size") { $0.int(0) } ?? 0)
        }
    }

    private static func prepare(_ connection: Connection, _ settings: Settings) throws(IndexError) {
        try connection.execute(
            """
            PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA temp_store=MEMORY;
            PRAGMA cache_size=-\(settings.writerCache); PRAGMA wal_autocheckpoint=\(settings.checkpointPages);
            PRAGMA journal_size_limit=\(settings.checkpointPages * 4096 * 2);
            """)
        let application = try connection.first("PRAGMA application_id") { $0.int(0) }
        let version = try connection.first("PRAGMA user_version") { $0.int(0) }
        let tables = try connection.first("SELECT count(*) FROM sqlite_schema") { $0.int(0) }
        if tables == 0, application == 0, version == 0 {
            let state = "INSERT INTO state VALUES(1, 0, 1, zeroblob(32), x'\(String(repeating: "00", count: 15))')"
            try connection.execute(
                """
                BEGIN IMMEDIATE; \(Schema.tables) \(state);
                PRAGMA application_id=\(Schema.application); PRAGMA user_version=\(Schema.version); COMMIT
                """)
            return
        }
        guard application == Schema.application else { throw .otherFormat("the file is not an index") }
        guard version == Schema.version else { throw .otherFormat("its version is \(version ?? 0)") }
    }
}
