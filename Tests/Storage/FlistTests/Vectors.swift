/// The numbers of Documentation/formats/flist.md, which another implementation, in Python, gave too.
enum Vectors {
    static let helloStored = "5a464301010000000500000085824f418be47403f43f4952d58ece4ba12df20647"
    static let helloId = "1d58e557357fc5515e9c072719f21e5028ffcccbcedaee93cf95be8489f11ad6"
    static let helloKey = "c78794d8d845244efa7d28fdb8ddf989632b2e796c461a8d72f7a8bed4c51e16"
    static let privateId = "9a3eab5a91f4c840146b917da077e0e5255034cb1d263975e8f453b0025bc582"
    static let privateKey = "69efe828e3b101044ccb718c53f5e2a8f9679d54c30282517ad09f62db3305cc"
    static let cuts = [197_625, 279_174, 341_512, 268_856, 345_290, 374_277, 283_143, 7_275]
    static let rootPlain =
        "0002ed03000080c49fd50c0000000101016103047f3b87b2ae6ef7926e8c197979c9d381e289ec4b2eedba7bef1323f7db67b8"
        + "13432c85743773b173b365aa56cff2cce9713e1bb0b09a01da45be7d1d84bd170701020105000101"
    static let rootId = "846af7091cdbae47bbea585406323c79d58910945a124796c703381c6a08887a"
    static let rootKey = "9abcb60eb3818a8701956432e8ba2446fc61dc96925bcb541cf6aeea0992e461"
}
