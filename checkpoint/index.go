package checkpoint

import "fmt"

// ImageRef names an index image of old, which a recovery starts from.
type ImageRef struct {
	ID         uint64
	Bytes      int64  // size of the file
	ReplayFrom uint64 // log address from which on the log must be replayed over it
}

// RunRef names a run of old: a file that spares a recovery from replaying a stretch of the log behind the image.
type RunRef struct {
	ID       uint64 // images have ids of the same kind
	Bytes    int64  // size of the file
	From, To uint64 // log addresses: what belongs to the lineage in [From, To)
}

// ShareRef names a share: a file that spares a recovery from replaying a stretch of the log for a range of hashes. What its
// fields mean is the business of package index, whose type of that name has the same.
type ShareRef struct {
	ID            uint64
	Bytes         int64 // size of the file
	First, Last   uint64
	From, To      uint64 // log addresses
	Level         int
	Triples, Live int64
}

// Index is the files in images/ that a version names. It is a value: nobody changes what it refers to.
type Index struct {
	Image      *ImageRef // of old; nil: there is none, and the lineage is replayed as far as shares do not stand for it
	Runs       []RunRef  // of old: what is to be replayed over the image, see V10
	Shares     []ShareRef
	ReplayFrom uint64     // if there are shares: the log from here on is to be replayed over them
	Cold       []ShareRef // files of records, which stand for the log that the lineage once had below its extents
}

// Replay returns where the log begins that a recovery has to replay.
func (x Index) Replay() uint64 {
	switch {
	case len(x.Shares) > 0:
		return x.ReplayFrom
	case len(x.Runs) > 0:
		return x.Runs[len(x.Runs)-1].To
	case x.Image != nil:
		return x.Image.ReplayFrom
	}
	return 0
}

// IDs returns the ids of all files.
func (x Index) IDs() (ids []uint64) {
	for _, f := range x.files() {
		ids = append(ids, f.id)
	}
	return ids
}

// indexFile is a file that a version names in images/. Two that are equal have the same content, if they are of one
// history: an id alone may have been used again by a release that knew no shares.
type indexFile struct {
	id       uint64
	bytes    int64
	from, to uint64 // to is 0 for a share, of which a version may name a part
	kind     indexKind
}

type indexKind uint8

const (
	ofImage indexKind = iota
	ofRun
	ofShare
	ofCold
)

// files returns the image, the runs, the shares and the cold files, in this order.
func (x Index) files() []indexFile {
	var files []indexFile
	if i := x.Image; i != nil {
		files = append(files, indexFile{id: i.ID, bytes: i.Bytes, from: i.ReplayFrom})
	}
	for _, r := range x.Runs {
		files = append(files, indexFile{r.ID, r.Bytes, r.From, r.To, ofRun})
	}
	for _, s := range x.Shares {
		files = append(files, indexFile{s.ID, s.Bytes, s.From, 0, ofShare})
	}
	for _, s := range x.Cold {
		files = append(files, indexFile{s.ID, s.Bytes, s.From, 0, ofCold})
	}
	return files
}

// check returns what is wrong with the index of a version that ends at cut (V10), "" when nothing is.
func (x Index) check(cut uint64) string {
	if i := x.Image; i != nil && (i.Bytes < 0 || i.ReplayFrom > cut) {
		return fmt.Sprintf("image of %d bytes, to be replayed from %d, cut %d", i.Bytes, i.ReplayFrom, cut)
	}
	if len(x.Runs) > 0 && x.Image == nil {
		return "runs without an image"
	}
	for i, r := range x.Runs {
		if r.Bytes < 0 || r.From >= r.To || r.To > cut {
			return fmt.Sprintf("run %d of %d bytes, [%d, %d), cut %d", i, r.Bytes, r.From, r.To, cut)
		}
		if i == 0 && (r.From > x.Image.ReplayFrom || r.To <= x.Image.ReplayFrom) || i > 0 && r.From != x.Runs[i-1].To {
			return fmt.Sprintf("run %d [%d, %d) does not continue the image or the run before", i, r.From, r.To)
		}
	}
	if x.ReplayFrom > cut || len(x.Shares) == 0 && x.ReplayFrom != 0 {
		return fmt.Sprintf("%d shares, to be replayed from %d, cut %d", len(x.Shares), x.ReplayFrom, cut)
	}
	for i, s := range x.Shares {
		if s.bad(cut) {
			return fmt.Sprintf("share %d: %+v, cut %d", i, s, cut)
		}
	}
	for i, s := range x.Cold {
		if s.bad(cut) {
			return fmt.Sprintf("cold file %d: %+v, cut %d", i, s, cut)
		}
	}
	return ""
}

// bad reports whether no share of a version that ends at cut can be like s.
func (s ShareRef) bad(cut uint64) bool {
	return s.Bytes < 0 || s.First > s.Last || s.From >= s.To || s.To > cut || s.Level < 0 || s.Triples < 0 || s.Live < 0
}

const (
	runBytes   = 32
	shareBytes = 72
)

// format returns the lowest format that can express x: a release that knows no runs, or no shares, reads what has none.
func (x Index) format() uint32 {
	switch {
	case len(x.Shares) > 0:
		return sharesFormat
	case len(x.Runs) > 0:
		return runsFormat
	}
	return 1
}

// append appends what a manifest of that format has of x beyond format 1.
func (x Index) append(b []byte, format uint32) []byte {
	if format >= runsFormat {
		b = appendUint64s(b, uint64(len(x.Runs)))
		for _, r := range x.Runs {
			b = appendUint64s(b, r.ID, uint64(r.Bytes), r.From, r.To)
		}
	}
	if format >= sharesFormat {
		b = appendShares(appendUint64s(b, x.ReplayFrom), x.Shares)
	}
	if format >= coldFormat {
		b = appendShares(b, x.Cold)
	}
	return b
}

func appendShares(b []byte, shares []ShareRef) []byte {
	b = appendUint64s(b, uint64(len(shares)))
	for _, s := range shares {
		b = appendUint64s(b, s.ID, uint64(s.Bytes), s.First, s.Last, s.From, s.To, uint64(s.Level), uint64(s.Triples), uint64(s.Live))
	}
	return b
}

// shares reads what appendShares has written.
func (r *reader) shares() []ShareRef {
	n := r.count(shareBytes)
	if n == 0 {
		return nil
	}
	shares := make([]ShareRef, n)
	for i := range shares {
		shares[i] = ShareRef{
			ID: r.uint64(), Bytes: r.int64(), First: r.uint64(), Last: r.uint64(), From: r.uint64(), To: r.uint64(),
			Level: int(r.int64()), Triples: r.int64(), Live: r.int64(),
		}
	}
	return shares
}

// read reads what append has written.
func (x *Index) read(r *reader, format uint32) {
	if format >= runsFormat {
		x.Runs = make([]RunRef, r.count(runBytes))
		for i := range x.Runs {
			x.Runs[i] = RunRef{ID: r.uint64(), Bytes: r.int64(), From: r.uint64(), To: r.uint64()}
		}
	}
	if format >= sharesFormat {
		x.ReplayFrom, x.Shares = r.uint64(), r.shares()
	}
	if format >= coldFormat {
		if x.Cold = r.shares(); x.Cold == nil && format == coldFormat {
			r.fail("format %d without cold files", format)
		}
	}
	if format < identityFormat && format != x.format() {
		r.fail("format %d with %d runs and %d shares", format, len(x.Runs), len(x.Shares))
	}
	if len(x.Runs) == 0 {
		x.Runs = nil
	}
}
