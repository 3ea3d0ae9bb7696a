package workload

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Dist says which keys a load picks. The zero value of a field means its default.
type Dist struct {
	Kind   string   // "uniform", "zipf", "hotset" or "trace"
	Theta  float64  // zipf: the skew; default 0.99
	Share  float64  // hotset: the part of the keys that is hot; default 0.2
	Hot    float64  // hotset: the part of the picks that goes there; default 0.9
	Rotate int      // hotset: picks after which the window moves on; default 100,000
	Trace  []uint32 // trace: the picks themselves, again from the start when they run out
}

// Kinds lists the distributions that can be named, in the order in which reports show them.
func Kinds() []string { return []string{"uniform", "zipf", "hotset"} }

// String returns the name that benchmarks and reports use: zipf, uniform, hotset.
func (d Dist) String() string { return d.Kind }

// withDefaults fills in what was left zero.
func (d Dist) withDefaults() Dist {
	if d.Theta == 0 {
		d.Theta = 0.99
	}
	if d.Share == 0 {
		d.Share = 0.2
	}
	if d.Hot == 0 {
		d.Hot = 0.9
	}
	if d.Rotate == 0 {
		d.Rotate = 100_000
	}
	return d
}

// Validate reports the first field that makes no sense.
func (d Dist) Validate() error {
	d = d.withDefaults()
	switch {
	case d.Kind == "trace" && len(d.Trace) > 0:
		return nil
	case d.Kind != "uniform" && d.Kind != "zipf" && d.Kind != "hotset":
		return fmt.Errorf("bench: distribution %q is none of %v", d.Kind, Kinds())
	case d.Theta <= 0 || d.Theta >= 1:
		return fmt.Errorf("bench: zipf theta %v is outside (0, 1)", d.Theta)
	case d.Share <= 0 || d.Share > 1:
		return fmt.Errorf("bench: hot share %v is outside (0, 1]", d.Share)
	case d.Hot < 0 || d.Hot > 1:
		return fmt.Errorf("bench: hot picks %v are outside [0, 1]", d.Hot)
	case d.Rotate < 1:
		return fmt.Errorf("bench: rotation every %d picks", d.Rotate)
	}
	return nil
}

// Picks draws count key numbers in [0, keys). The same arguments give the same picks. It panics when the distribution
// is not valid or keys does not fit 32 bits: both are mistakes of the caller, checked where flags are read.
func (d Dist) Picks(keys, count int, seed uint64) []uint32 {
	if err := d.Validate(); err != nil {
		panic(err)
	}
	if keys < 1 || int64(keys) > math.MaxUint32 {
		panic(fmt.Sprintf("bench: %d keys", keys))
	}
	d = d.withDefaults()
	r := rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))
	out := make([]uint32, count)
	switch d.Kind {
	case "zipf":
		z := newZipf(uint64(keys), d.Theta)
		for i := range out {
			out[i] = uint32(scatter(z.rank(r.Float64()), uint64(keys)))
		}
	case "trace":
		for i := range out {
			out[i] = d.Trace[i%len(d.Trace)] % uint32(keys)
		}
	case "hotset":
		w := max(1, int(d.Share*float64(keys)))
		for i := range out {
			if r.Float64() < d.Hot {
				start := (i / d.Rotate) * w % keys
				out[i] = uint32((start + r.IntN(w)) % keys)
			} else {
				out[i] = uint32(r.IntN(keys))
			}
		}
	default:
		for i := range out {
			out[i] = uint32(r.IntN(keys))
		}
	}
	return out
}

// scatter sends rank r of n to a key number, one to one, so that hot keys are not neighbours. The multiplier is a
// prime near 2^32 divided by the golden ratio; it shares no factor with any n but its own multiples.
func scatter(r, n uint64) uint64 {
	const prime = 2654435761
	if n%prime == 0 {
		return r
	}
	return r * prime % n
}

// zipf draws ranks 0 … n-1 with weight 1/(rank+1)^theta by the inversion of Gray et al., as YCSB does.
type zipf struct {
	n                 float64
	theta, alpha, eta float64
	zetan, half       float64
}

func newZipf(n uint64, theta float64) *zipf {
	zetan := zeta(n, theta)
	return &zipf{
		n:     float64(n),
		theta: theta,
		alpha: 1 / (1 - theta),
		eta:   (1 - math.Pow(2/float64(n), 1-theta)) / (1 - zeta(2, theta)/zetan),
		zetan: zetan,
		half:  1 + math.Pow(0.5, theta),
	}
}

// rank turns u, uniform in [0, 1), into a rank.
func (z *zipf) rank(u float64) uint64 {
	uz := u * z.zetan
	if uz < 1 {
		return 0
	}
	if uz < z.half {
		return uint64(min(1, z.n-1))
	}
	return uint64(min(z.n-1, z.n*math.Pow(z.eta*u-z.eta+1, z.alpha)))
}

// zeta is the sum of i^-theta for i = 1 … n. The head is added up; the tail is Euler and Maclaurin's formula, whose
// error past 10,000 terms is below 1e-12.
func zeta(n uint64, theta float64) float64 {
	const head = 10_000
	sum := 0.0
	for i := uint64(1); i <= min(n, head); i++ {
		sum += math.Pow(float64(i), -theta)
	}
	if n <= head {
		return sum
	}
	a, b := float64(head), float64(n)
	f := func(x float64) float64 { return math.Pow(x, -theta) }
	df := func(x float64) float64 { return -theta * math.Pow(x, -theta-1) }
	integral := (math.Pow(b, 1-theta) - math.Pow(a, 1-theta)) / (1 - theta)
	return sum + integral + (f(b)-f(a))/2 + (df(b)-df(a))/12
}
