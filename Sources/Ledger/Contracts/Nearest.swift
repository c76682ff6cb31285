import CanonicalJSON

/// Hints for somebody who wrote a name that does not exist.
enum Nearest {
    /// "did you mean `x`?" for the nearest candidate, else the list of all of them.
    static func hint(_ word: String, among candidates: [String]) -> String {
        match(word, among: candidates) ?? "known are " + candidates.sorted().map { "`\($0)`" }.joined(separator: ", ")
    }

    /// "did you mean `x`?", if something is near enough.
    static func match(_ word: String, among candidates: some Sequence<String>) -> String? {
        nearest(to: word, among: candidates).map { "did you mean `\($0)`?" }
    }
}
