module github.com/hybridlog/hybridlog

go 1.25.0

require (
	github.com/edsrzf/mmap-go v1.2.0
	github.com/puzpuzpuz/xsync/v3 v3.5.1
	github.com/zeebo/xxh3 v1.1.0
	golang.org/x/sys v0.47.0
)

require github.com/klauspost/cpuid/v2 v2.2.10 // indirect
