/// Why bytes are not an acceptable document, or a document not of the expected shape.
public enum JSONError: Error, Equatable, Sendable {
    /// Not JSON of the restricted model: what is wrong, at which line and column (both from 1).
    case syntax(String, line: Int, column: Int)
    /// JSON, but not in its canonical form; `offset` is the first byte that differs.
    case notCanonical(offset: Int)
    /// `subject` lacks a member.
    case missing(key: String, subject: String)
    /// A member of `subject` has the wrong kind or value.
    case unexpected(key: String, subject: String, expected: String, found: String)
    /// `subject` has a member that its definition does not know; `nearest` is one that it does.
    case unknown(key: String, subject: String, nearest: String?)
}

extension JSONError: CustomStringConvertible {
    /// One line for people.
    public var description: String {
        switch self {
        case .syntax(let what, let line, let column): "line \(line), column \(column): \(what)"
        case .notCanonical(let offset): "not canonical JSON from byte \(offset) on"
        case .missing(let key, let subject): "\(subject) lacks “\(key)”"
        case .unexpected(let key, let subject, let expected, let found):
            "“\(key)” of \(subject) must be \(expected), not \(found)"
        case .unknown(let key, let subject, let nearest):
            "\(subject) has an unknown field “\(key)”" + (nearest.map { ", did you mean “\($0)”?" } ?? "")
        }
    }
}

/// The member of `candidates` with the smallest edit distance to `word`, where that is near enough to be meant.
public func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let source = Array(word.utf8)
    var best: (distance: Int, word: String)?
    for candidate in candidates.sorted() {
        let target = Array(candidate.utf8)
        var row = Array(0...target.count)
        for (i, letter) in source.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, other) in target.enumerated() {
                let above = row[j + 1]
                row[j + 1] = letter == other ? diagonal : 1 + min(diagonal, above, row[j])
                diagonal = above
            }
        }
        let distance = row[target.count]
        if distance < best?.distance ?? Int.max { best = (distance, candidate) }
    }
    guard let best, best.distance <= (source.count < 4 ? 1 : max(2, source.count / 3)) else { return nil }
    return best.word
}
