public import Objects

/// The walk over keys that a query asks for: where it begins, and what it skips.
private struct Walk {
    let query: ListQuery

    /// What joins the key with others; nil for none.
    func commonPrefix(_ key: [UInt8]) -> [UInt8]? {
        let delimiter = query.delimiter
        guard !delimiter.isEmpty, key.count >= query.prefix.count + delimiter.count else { return nil }
        for start in query.prefix.count...(key.count - delimiter.count)
        where key[start..<(start + delimiter.count)].elementsEqual(delimiter) {
            return Array(key[..<(start + delimiter.count)])
        }
        return nil
    }

    /// The least key that none with this prefix reaches; nil if every key above begins so.
    static func successor(_ prefix: [UInt8]) -> [UInt8]? {
        var end = prefix
        while let last = end.last {
            if last < 255 {
                end[end.count - 1] = last + 1
                return end
            }
            end.removeLast()
        }
        return nil
    }

    /// The least key that may be listed; nil for none.
    var start: [UInt8]? {
        guard let after = query.after?.bytes else { return query.prefix }
        var least: [UInt8]
        if after.starts(with: query.prefix), commonPrefix(after) == after {
            guard let next = Walk.successor(after) else { return nil }
            least = next
        } else {
            least = after + [0]
        }
        if least.lexicographicallyPrecedes(query.prefix) { least = query.prefix }
        return least
    }

    /// The key of which some entries are left, for listings that have several of a key.
    var begun: ObjectKey? {
        guard let after = query.after, after.bytes.starts(with: query.prefix), commonPrefix(after.bytes) == nil
        else { return nil }
        return after
    }
}

/// What a walk does with a key.
private enum Step {
    /// The next row.
    case next
    /// Seek the least key that is not below this.
    case seek([UInt8]?)
    /// The page is full, or there is nothing more.
    case end
}

extension IndexView {
    /// Newest versions that are not delete markers; an empty page where there is no bucket.
    public func list(_ bucket: String, _ query: ListQuery) throws(IndexError) -> ListPage<ObjectVersion> {
        var page = ListPage<ObjectVersion>()
        guard query.limit > 0, let bucket = try bucketRow(bucket) else { return page }
        let walk = Walk(query: query)
        var found: [VersionRow] = []
        var last: [UInt8]?
        var repeated = 0
        try versions(bucket.number, walk) { row in
            if row.key == last {
                // Past a key with many versions it is quicker to seek.
                repeated += 1
                return repeated < 8 ? .next : .seek(row.key + [0])
            }
            (last, repeated) = (row.key, 0)
            if row.isMarker { return .next }
            if found.count + page.prefixes.count == query.limit {
                page.isTruncated = true
                return .end
            }
            if let prefix = walk.commonPrefix(row.key) {
                page.prefixes.append(prefix)
                return .seek(Walk.successor(prefix))
            }
            found.append(row)
            return .next
        }
        page.entries.reserveCapacity(found.count)
        for row in found { page.entries.append(try version(row, isLatest: true)) }
        return page
    }

    /// All versions and delete markers, newest first within a key; an empty page where there is no bucket.
    public func listVersions(_ bucket: String, _ query: ListQuery) throws(IndexError) -> ListPage<ObjectVersion> {
        var page = ListPage<ObjectVersion>()
        guard query.limit > 0, let bucket = try bucketRow(bucket) else { return page }
        let walk = Walk(query: query)
        var found: [(row: VersionRow, isLatest: Bool)] = []
        if let key = walk.begun, let after = query.afterVersion {
            found = try olderVersions(bucket.number, key, after, limit: query.limit + 1)
            if found.count > query.limit {
                found.removeLast()
                page.isTruncated = true
            }
        }
        var last: [UInt8]?
        if !page.isTruncated {
            try versions(bucket.number, walk) { row in
                if found.count + page.prefixes.count == query.limit {
                    page.isTruncated = true
                    return .end
                }
                if let prefix = walk.commonPrefix(row.key) {
                    page.prefixes.append(prefix)
                    return .seek(Walk.successor(prefix))
                }
                found.append((row, row.key != last))
                last = row.key
                return .next
            }
        }
        page.entries.reserveCapacity(found.count)
        for (row, isLatest) in found { page.entries.append(try version(row, isLatest: isLatest)) }
        return page
    }

    /// The versions of a key that come behind one. Behind a `null` version that is gone meanwhile: all, rather than missing some.
    private func olderVersions(
        _ bucket: Int64, _ key: ObjectKey, _ after: VersionID, limit: Int
    ) throws(IndexError) -> [(row: VersionRow, isLatest: Bool)] {
        var below = Limits.number
        switch after {
        case .number(let sequence): below = min(sequence, below)
        case .null: if let row = try locate(bucket, key, .null) { below = row.sequence }
        }
        let newest = try locate(bucket, key, nil)?.sequence
        return try connection.all(
            """
            SELECT sequence, kind FROM versions WHERE bucket = ? AND key = ? AND sequence < ?
            ORDER BY sequence DESC LIMIT ?
            """, .int(bucket), .blob(key.bytes), .number(below), .int(limit)
        ) { row in
            (VersionRow(key: key.bytes, sequence: row.number(0), kind: row.int(1)), row.number(0) == newest)
        }
    }

    private func versions(_ bucket: Int64, _ walk: Walk, _ visit: (VersionRow) -> Step) throws(IndexError) {
        var from = walk.start
        while let least = from {
            from = nil
            try connection.each(
                """
                SELECT key, sequence, kind FROM versions WHERE bucket = ? AND key >= ? ORDER BY key, sequence DESC
                """, .int(bucket), .blob(least)
            ) { row in
                let row = VersionRow(key: row.bytes(0), sequence: row.number(1), kind: row.int(2))
                guard row.key.starts(with: walk.query.prefix) else { return false }
                switch visit(row) {
                case .next: return true
                case .seek(let next): from = next
                case .end: break
                }
                return false
            }
        }
    }

    /// Uploads that are not complete, by key, then by id; an empty page where there is no bucket.
    public func listUploads(_ bucket: String, _ query: ListQuery) throws(IndexError) -> ListPage<Upload> {
        var page = ListPage<Upload>()
        guard query.limit > 0, let bucket = try bucketRow(bucket) else { return page }
        let walk = Walk(query: query)
        var found: [UInt64] = []
        if let key = walk.begun, let text = query.afterUpload, case .number(let after)? = VersionID(text) {
            found = try connection.all(
                "SELECT number FROM uploads WHERE bucket = ? AND key = ? AND number > ? ORDER BY number LIMIT ?",
                .int(bucket.number), .blob(key.bytes), .number(min(after, Limits.number)), .int(query.limit + 1)
            ) { $0.number(0) }
            if found.count > query.limit {
                found.removeLast()
                page.isTruncated = true
            }
        }
        var from = page.isTruncated ? nil : walk.start
        while let least = from {
            from = nil
            try connection.each(
                "SELECT key, number FROM uploads WHERE bucket = ? AND key >= ? ORDER BY key, number",
                .int(bucket.number), .blob(least)
            ) { row in
                let key = row.bytes(0)
                guard key.starts(with: query.prefix) else { return false }
                if found.count + page.prefixes.count == query.limit {
                    page.isTruncated = true
                    return false
                }
                if let prefix = walk.commonPrefix(key) {
                    page.prefixes.append(prefix)
                    from = Walk.successor(prefix)
                    return false
                }
                found.append(row.number(1))
                return true
            }
        }
        for number in found { page.entries.append(try listed(upload: number)) }
        return page
    }
}
