//go:build !amd64 && !race

package mem

func storePlain(p Ptr, v uint64) {
	// Sound because nobody else can see the word yet.
	*(*uint64)(p) = v
}
