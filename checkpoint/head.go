package checkpoint

// head is the content of HEAD: where the last rollback went, and what ids and addresses were used up by then.
type head struct {
	target Version // 0 = no rollback yet
	floor  Version // highest id when target was set
	maxEnd uint64  // highest log end ever committed, at that time
}

func encodeHead(h head) []byte {
	return wrap(magicHead, 1, appendUint64s(nil, uint64(h.target), uint64(h.floor), h.maxEnd))
}

func decodeHead(file string, b []byte) (h head, err error) {
	payload, _, err := unwrap(file, magicHead, 1, b)
	if err != nil {
		return h, err
	}
	r := newReader(file, payload)
	h = head{target: Version(r.uint64()), floor: Version(r.uint64()), maxEnd: r.uint64()}
	if h.target > h.floor {
		r.fail("target %d above floor %d", h.target, h.floor)
	}
	if h.maxEnd > maxLog {
		r.fail("log end %d out of range", h.maxEnd)
	}
	return h, r.done()
}
