import Linux

/// Reads the unit files of a folder.
enum UnitFolder {
    static func read(_ path: String) -> UnitSet {
        var files: [String: Result<[UInt8], UnitError>] = [:]
        let names: [String]
        do throws(SystemError) {
            names = try File.list(path)
        } catch {
            return UnitSet(["units": .failure(UnitError(path, "\(error)"))])
        }
        for name in names where name.hasSuffix(".unit") && !name.hasPrefix(".") {
            let unit = String(name.dropLast(5))
            guard files.count < Limits.unitsMax else {
                files[unit] = .failure(UnitError(name, "more than \(Limits.unitsMax) units"))
                break
            }
            do throws(SystemError) {
                files[unit] = .success(try File.read("\(path)/\(name)", limit: Limits.unitBytesMax))
            } catch {
                files[unit] = .failure(UnitError(name, "\(error)"))
            }
        }
        return UnitSet(files)
    }
}
