internal import CLinux
internal import CanonicalJSON
internal import Glibc
internal import Linux

/// The folders, the writable layer and the mount of one container.
struct ContainerRoot {
    let paths: ShimPaths

    /// Makes the folders of root. Their parents are made by `zero-core`, or here when the shim is run by hand.
    func makeFolders() throws(SystemError) {
        for (path, mode) in [
            (File.parent(paths.live), 0o711), (paths.live, 0o711), (paths.hidden, 0o700), (paths.bundle, 0o700),
            (paths.runtimeRoot, 0o700), (File.parent(paths.kept), 0o711), (paths.kept, 0o711),
            (paths.layer, 0o700), (paths.upper, 0o755), (paths.work, 0o700), (paths.logs, 0o750),
        ] as [(String, UInt32)] {
            try File.makeDirectories(path, mode: mode)
            let status = try File.status(path, follow: false)
            // Only root may write along the way; otherwise a link could be put there later.
            guard status.isDirectory, status.uid == 0 else { throw SystemError("check", path, Errno(EPERM)) }
            // The image decides the mode of the upper folder: it is the container's "/".
            if path != paths.upper { try File.changeMode(path, mode) }
        }
        // Where an adopted container runs, this is its "/": it is not touched.
        try File.makeDirectories(paths.rootfs, mode: 0o700)
        try File.changeOwner(paths.logs, uid: 0, gid: ShimAccounts.corex)
        // New files in it belong to the folder's group.
        try File.changeMode(paths.logs, 0o2750)
    }

    /// Empties the writable layer if it belongs to another container than `identity`.
    func prepareLayer(_ identity: JSONValue) throws(ShimError) {
        let wanted = identity.canonicalBytes
        if let known = try? File.read(paths.layerIdentity), known == wanted { return }
        do throws(SystemError) {
            try removeLayer()
            try File.makeDirectories(paths.upper, mode: 0o755)
            try File.makeDirectories(paths.work, mode: 0o700)
            try File.changeMode(paths.layer, 0o700)
            // Not durable: a crash that loses it makes the next start begin with an empty layer, as this one does.
            try File.writeAtomically(paths.layerIdentity, wanted)
        } catch {
            throw ShimError("layer", "\(error)")
        }
    }

    func removeLayer() throws(SystemError) {
        let folder = Descriptor(try checked("open", paths.kept, zg_open_directory(paths.kept)))
        try checked("remove", paths.layer, zg_container_remove_tree(folder.raw, "layer"))
    }

    /// Mounts image and layer as the container's root folder, anew.
    func mount() throws(ShimError) {
        do throws(SystemError) {
            try detach()
            let image = try openPlain(paths.image)
            guard try checked("statx", paths.image, zg_container_is_mount(image.raw)) == 1 else {
                throw SystemError("check", "\(paths.image), no image is mounted there", Errno(ENODEV))
            }
            let upper = try openPlain(paths.upper)
            let status = try File.status(of: image.raw)
            try takeAttributes(status)
            let work = try openPlain(paths.work)
            let target = try openPlain(paths.rootfs)
            try checked("overlay", paths.rootfs, zg_container_overlay(image.raw, upper.raw, work.raw, target.raw))
        } catch {
            throw ShimError("mount", "\(error)")
        }
    }

    /// The merged root shows mode and owner of the upper folder: give it those of the image.
    private func takeAttributes(_ image: FileStatus) throws(SystemError) {
        try File.changeOwner(paths.upper, uid: image.uid, gid: image.gid)
        try File.changeMode(paths.upper, image.permissions)
    }

    /// Takes the root folder away; several layers of it too, should there be any.
    func detach() throws(SystemError) {
        for _ in 0..<8 {
            guard let folder = try? openPlain(paths.rootfs), zg_container_is_mount(folder.raw) == 1 else { return }
            try checked("unmount", paths.rootfs, zg_container_detach(paths.rootfs))
        }
    }

    /// Takes away what an image's server left mounted. The path is `zero-compute`'s, so it is opened without links first.
    func detachImage() throws(SystemError) {
        for _ in 0..<16 {
            guard let folder = try? openPlain(paths.image), zg_container_is_mount(folder.raw) == 1 else { return }
            try checked("unmount", paths.image, zg_container_detach_open(folder.raw))
        }
    }

    /// Opens a path of which no part may be a symbolic link.
    func openPlain(_ path: String) throws(SystemError) -> Descriptor {
        Descriptor(try checked("open", path, zg_container_open(-1, path, Int32(ZG_OPEN_PATH), Int32(ZG_PATH_PLAIN))))
    }

    /// A volume must be a folder of `zero-storage`, and no link may lead elsewhere.
    func checkVolumes(_ spec: ContainerSpec) throws(ShimError) {
        for volume in spec.volumes {
            guard volume.path.hasPrefix(paths.volumes + "/") else {
                throw ShimError("volume", "\(volume.path) is not below \(paths.volumes)")
            }
            do throws(SystemError) {
                let folder = try openPlain(volume.path)
                guard try File.status(of: folder.raw).isDirectory else {
                    throw SystemError("check", volume.path, Errno(ENOTDIR))
                }
            } catch {
                throw ShimError("volume", "\(error)")
            }
        }
    }

    /// The device of what is mounted as image; nil when nothing is.
    var imageDevice: Int64? {
        let device = zg_container_mount_device(paths.image)
        return device > 0 ? device : nil
    }
}
