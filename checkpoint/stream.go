package checkpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

const (
	magicStream  = "HLSTREA\n"
	streamFormat = 1
	// chunkBytes is how much of a part follows before its checksum.
	chunkBytes = 1 << 20
	// chunksUnderWay is how many chunks lie between whoever reads them and whoever writes them.
	chunksUnderWay = 4
	// maxStreamHeader bounds the envelope that a stream begins with.
	maxStreamHeader = maxManifest + 64<<20
)

// header is what a stream says of itself before its parts.
type header struct {
	size      uint64 // of the stream, this header included
	id        Identity
	base      Version // 0: the stream is all of the version
	baseNonce uint64
	manifest  []byte
	m         *Manifest // what manifest holds
	log       []Range
	files     []uint64 // ids of those index files of m that come along
}

// part is a stretch of log within one segment, or an index file.
type part struct {
	isLog bool
	n     uint64    // number of the segment
	file  indexFile // if it is none of the log
	off   int64     // in the file
	bytes int64
}

// parts returns what follows the header, in order.
func (h *header) parts() []part {
	var all []part
	size := uint64(h.id.SegmentBytes)
	for _, r := range h.log {
		for at := r.Start; at < r.End; {
			end := min(r.End, (at/size+1)*size)
			all = append(all, part{n: at / size, isLog: true, off: int64(at % size), bytes: int64(end - at)})
			at = end
		}
	}
	for _, f := range h.m.Index.files() {
		if slices.Contains(h.files, f.id) {
			all = append(all, part{file: f, bytes: f.bytes})
		}
	}
	return all
}

// encode returns the header's envelope, and puts the size of the whole stream into h.
func (h *header) encode() []byte {
	body := uint64(0)
	for _, p := range h.parts() {
		body += uint64(p.bytes) + uint64(chunks(p.bytes))*sumBytes
	}
	payload := func() []byte {
		b := appendUint64s(nil, h.size)
		b = append(b, h.id.StoreID[:]...)
		b = appendUint64s(b, h.id.HashSeed, uint64(h.id.SegmentBytes), uint64(h.base), h.baseNonce, uint64(len(h.manifest)))
		b = append(b, h.manifest...)
		b = appendUint64s(b, uint64(len(h.log)))
		for _, r := range h.log {
			b = appendUint64s(b, r.Start, r.End)
		}
		b = appendUint64s(b, uint64(len(h.files)))
		return appendUint64s(b, h.files...)
	}
	h.size = uint64(envelopeBytes+len(payload())) + body
	return wrap(magicStream, streamFormat, payload())
}

func chunks(n int64) int64 { return (n + chunkBytes - 1) / chunkBytes }

// decodeStream is total, like DecodeManifest.
func decodeStream(name string, b []byte) (*header, error) {
	payload, _, err := unwrap(name, magicStream, streamFormat, b)
	if err != nil {
		return nil, err
	}
	r := newReader(name, payload)
	h := &header{size: r.uint64()}
	copy(h.id.StoreID[:], r.bytes(uint64(len(h.id.StoreID))))
	h.id.HashSeed, h.id.SegmentBytes = r.uint64(), r.int64()
	h.base, h.baseNonce, h.manifest = Version(r.uint64()), r.uint64(), r.blob()
	h.log = make([]Range, r.count(16))
	for i := range h.log {
		h.log[i] = Range{r.uint64(), r.uint64()}
	}
	h.files = make([]uint64, r.count(8))
	for i := range h.files {
		h.files[i] = r.uint64()
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if h.m, err = DecodeManifest(name, h.manifest); err != nil {
		return nil, err
	}
	if bad := h.check(); bad != "" {
		return nil, corrupt(name, headerBytes, "%s", bad)
	}
	return h, nil
}

// check returns what is wrong with h, "" when nothing is.
func (h *header) check() string {
	if err := h.id.validate(); err != nil {
		return err.Error()
	}
	if id, ok := h.m.identity(); h.id.StoreID != h.m.StoreID || ok && id != h.id {
		return "the manifest is that of another store"
	}
	if h.base >= h.m.Version {
		return fmt.Sprintf("version %d as what is new since version %d", h.m.Version, h.base)
	}
	log := Log(h.m.Extents)
	var end uint64
	for i, r := range h.log {
		if r.Start >= r.End || r.Start < end || !log.Covers(r.Start, r.End) {
			return fmt.Sprintf("stretch %d of log, [%d, %d), is none of the version's", i, r.Start, r.End)
		}
		end = r.End
	}
	ids := h.m.IDs()
	for i, id := range h.files {
		if !slices.Contains(ids, id) || slices.Contains(h.files[:i], id) {
			return fmt.Sprintf("index file %d is none of the version's", id)
		}
	}
	if h.base == 0 && (!slices.Equal(h.log, log.Ranges()) || len(h.files) != len(ids)) {
		return "not all of the version comes along"
	}
	stated := h.size
	if h.encode(); stated != h.size {
		return fmt.Sprintf("the length is given as %d, it is %d", stated, h.size)
	}
	return ""
}

// chunkSum returns the checksum of the i-th chunk of a stream whose header ends in sum: no other stream has it.
func chunkSum(data []byte, sum uint64, i int64) uint64 { return xxh3.HashSeed(data, sum+uint64(i)) }

// Outgoing is a version that is to be written as a stream.
type Outgoing struct {
	dir   *Dir
	head  []byte
	size  int64
	parts []part
}

// Stream returns version m as a stream: all of it, or with a base what a directory at version base lacks. Both are pinned
// until it was written. ErrOrder when base is not older than m.
func (d *Dir) Stream(m, base *Manifest) (*Outgoing, error) {
	manifest, err := EncodeManifest(m)
	if err != nil {
		return nil, err
	}
	h := &header{id: d.id, manifest: manifest, m: m}
	log := Log(m.Extents)
	var there []indexFile
	if base != nil {
		if base.Version >= m.Version {
			return nil, fmt.Errorf("%w: version %d as what is new since version %d", ErrOrder, m.Version, base.Version)
		}
		h.base, h.baseNonce = base.Version, base.Nonce
		log.SubtractSet(Log(base.Extents))
		there = d.certain(base)
	}
	h.log = log.Ranges()
	for _, f := range m.Index.files() {
		if !slices.Contains(there, f) {
			h.files = append(h.files, f.id)
		}
	}
	head := h.encode()
	return &Outgoing{dir: d, head: head, size: int64(h.size), parts: h.parts()}, nil
}

// certain returns the index files that every copy of version m names: those of every manifest that it has had since the
// directory was opened (Amend).
func (d *Dir) certain(m *Manifest) []indexFile {
	files := m.Index.files()
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.versions[m.Version]; e != nil {
		files = slices.DeleteFunc(files, func(f indexFile) bool { return slices.Contains(e.amended, f.id) })
	}
	return files
}

// Size returns how many bytes WriteTo writes.
func (s *Outgoing) Size() int64 { return s.size }

// chunk is a piece of a part on its way.
type chunk struct {
	part part
	off  int64  // in the part
	buf  []byte // its bytes and their checksum
}

func (c chunk) data() []byte { return c.buf[:len(c.buf)-sumBytes] }

// WriteTo writes the stream. Chunks are read from the files while others are written to w. The error is that of w or of the
// disk, ErrCorrupt when a file is missing or too short, or that of ctx.
func (s *Outgoing) WriteTo(ctx context.Context, w io.Writer) (written int64, err error) {
	n, err := w.Write(s.head)
	written = int64(n)
	if err != nil {
		return written, err
	}
	ctx, stop := context.WithCancel(ctx)
	full, free := make(chan chunk, chunksUnderWay), newBuffers()
	var reading sync.WaitGroup
	var readErr error
	reading.Go(func() {
		defer close(full)
		readErr = s.read(ctx, full, free)
	})
	defer reading.Wait()
	defer stop()
	for c := range full {
		n, err := w.Write(c.buf)
		written += int64(n)
		if err != nil {
			return written, err
		}
		free <- c.buf[:cap(c.buf)]
	}
	reading.Wait()
	return written, readErr
}

func newBuffers() chan []byte {
	free := make(chan []byte, chunksUnderWay)
	for range chunksUnderWay {
		free <- make([]byte, chunkBytes+sumBytes)
	}
	return free
}

// read sends all chunks.
func (s *Outgoing) read(ctx context.Context, full chan<- chunk, free <-chan []byte) error {
	sum, i := envelopeSum(s.head), int64(0)
	for _, p := range s.parts {
		name := s.dir.partPath(p)
		f, err := s.dir.fs.Open(name, fsx.Read)
		if err != nil {
			return missingFile(name, err)
		}
		for off := int64(0); off < p.bytes && err == nil; off += chunkBytes {
			var buf []byte
			select {
			case buf = <-free:
			case <-ctx.Done():
				err = ctx.Err()
				continue
			}
			c := chunk{p, off, buf[:min(chunkBytes, p.bytes-off)+sumBytes]}
			if err = readFull(f, name, c.data(), p.off+off); err == nil {
				binary.LittleEndian.PutUint64(c.buf[len(c.buf)-sumBytes:], chunkSum(c.data(), sum, i))
				i++
				full <- c
			}
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (d *Dir) partPath(p part) string {
	if p.isLog {
		return d.SegmentPath(p.n)
	}
	return d.ImagePath(p.file.id)
}
