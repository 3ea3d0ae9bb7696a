package index

import (
	"fmt"
	"syscall"
	"testing"
)

func cpu() float64 {
	var r syscall.Rusage
	syscall.Getrusage(1, &r) // thread
	return float64(r.Utime.Sec)*1e9 + float64(r.Utime.Usec)*1e3
}

func TestZZ(t *testing.T) {
	f := newFixture(t, Config{})
	n := uint64(16 << 10)
	f.fill(0, n)
	order := make([]uint64, 1<<14)
	for i := range order {
		order[i] = benchHash(uint64(i*7919) % n)
	}
	for round := 0; round < 5; round++ {
		N := 20_000_000
		c := cpu()
		for i := 0; i < N; i++ {
			f.g.Enter()
			_, e, status := f.Find(order[i&(len(order)-1)])
			f.g.Exit()
			if status != Found || e == 0 {
				t.Fatal()
			}
		}
		a := cpu() - c
		c = cpu()
		for i := 0; i < N; i++ {
			f.g.Enter()
			f.Find(^order[i&(len(order)-1)])
			f.g.Exit()
		}
		b := cpu() - c
		c = cpu()
		for i := 0; i < N; i += 16 {
			group := order[i&(len(order)-1):][:16]
			f.g.Enter()
			for _, h := range group {
				f.Prefetch(h)
			}
			for _, h := range group {
				f.Find(h)
			}
			f.g.Exit()
		}
		d := cpu() - c
		fmt.Printf("hit %.1f miss %.1f group %.1f ns\n", a/float64(N), b/float64(N), d/float64(N))
	}
}
