import CanonicalJSON

/// All units of a folder: those that can be run, and what is wrong with the others.
struct UnitSet: Sendable {
    private(set) var units: [String: UnitDefinition] = [:]
    private(set) var invalid: [String: UnitError] = [:]

    init() {}

    /// Reads files by unit name and checks what they say about each other.
    init(_ files: [String: Result<[UInt8], UnitError>]) {
        for (name, content) in files {
            do throws(UnitError) {
                units[name] = try UnitDefinition(try content.get(), name: name)
            } catch {
                invalid[name] = error
            }
        }
        // Each round may make more units invalid, because they come after one that is.
        while let (name, error) = firstProblem() {
            units[name] = nil
            invalid[name] = error
        }
    }

    private func firstProblem() -> (String, UnitError)? {
        for name in units.keys.sorted() {
            let subject = "\(name).unit"
            for other in units[name]?.after ?? [] where units[other] == nil {
                if invalid[other] != nil {
                    return (name, UnitError(subject, "comes after “\(other)”, which is invalid"))
                }
                let near = nearest(to: other, among: units.keys).map { "; did you mean “\($0)”?" } ?? ""
                return (name, UnitError(subject, "comes after “\(other)”, which is not a unit" + near))
            }
        }
        for name in units.keys.sorted() {
            if let circle = circle(from: name) {
                return (name, UnitError("\(name).unit", "comes after itself: " + circle.joined(separator: " after ")))
            }
        }
        return nil
    }

    private func circle(from start: String) -> [String]? {
        var seen: Set<String> = []
        func search(_ name: String, _ path: [String]) -> [String]? {
            for next in units[name]?.after ?? [] {
                if next == start { return path + [next] }
                if seen.insert(next).inserted, let found = search(next, path + [next]) { return found }
            }
            return nil
        }
        return search(start, [start])
    }
}
