// swift-tools-version:5.9
import PackageDescription

#if os(Linux)
// Linked as -lluacell_uniffi: from where the linker looks, or with -Xlinker -L<folder>.
let native: Target = .systemLibrary(name: "LuaCellFFI")
#else
// `tools/apple.sh` builds it.
let native: Target = .binaryTarget(name: "LuaCellFFI", path: "LuaCellFFI.xcframework")
#endif

let package = Package(
    name: "LuaCell",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "LuaCell", targets: ["LuaCell"])],
    targets: [
        native,
        .target(name: "LuaCell", dependencies: ["LuaCellFFI"]),
        .testTarget(name: "LuaCellTests", dependencies: ["LuaCell"]),
    ]
)
