internal import Bytes

/// ETags in rows: most are 32 hexadecimal digits and take 16 bytes.
enum ETag {
    static func value(_ etag: String) -> Value {
        if etag.utf8.count == 32, let bytes = Hex.decode(etag) { return .blob(bytes) }
        return .text(etag)
    }

    static func read(_ row: Row, _ column: Int32) -> String {
        row.isBlob(column) ? Hex.encode(row.bytes(column)) : row.text(column)
    }
}
