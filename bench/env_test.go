package main

import (
	"os"
	"strings"
	"testing"
)

func parseFor(t *testing.T, args ...string) (*env, error) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { null.Close() })
	return parse(args, null, null)
}

func TestParse_SizesAndCounts(t *testing.T) {
	e, err := parseFor(t, "-keys", "2.5M", "-memory", "64MiB", "-dist", "zipf, hotset", "-hot-share", "0.1", "-hot-rate", "5k",
		"-mix", "rmw", "-engines", "lsm,hybridlog", "-text", "a", "-text", "b")
	if err != nil {
		t.Fatal(err)
	}
	if e.keys != 2_500_000 || e.memory != 64<<20 || len(e.texts) != 2 || e.mixes[0].RMW != 100 {
		t.Errorf("%+v", e)
	}
	if len(e.dists) != 2 || e.dists[1].Share != 0.1 || e.dists[1].Rotate != 5000 {
		t.Errorf("distributions %+v", e.dists)
	}
	if got := strings.Join(e.pick(), " "); got != "hybridlog lsm" && got != "lsm hybridlog" {
		t.Errorf("engines %s", got)
	}
	if got := e.pick("memonly", "lsm"); len(got) != 1 || got[0] != "lsm" {
		t.Errorf("engines of an experiment on two: %v", got)
	}
}

func TestParse_RefusesWhatMakesNoSense(t *testing.T) {
	for _, args := range [][]string{
		{"-keys", "many"}, {"-memory", "-1"}, {"-dist", "gauss"}, {"-mix", "none"}, {"-engines", "rocks"}, {"-scale", "0"},
		{"-g", "0"}, {"-every", "0"}, {"-kills", "-1"}, {"extra"}, {"-theta", "2", "-dist", "zipf"}, {"-value", "-8"},
	} {
		if _, err := parseFor(t, args...); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
}

func TestChoose_NamesAllAndUnknown(t *testing.T) {
	all, err := choose("all")
	if err != nil || len(all) != len(experiments) {
		t.Fatalf("all: %d, %v", len(all), err)
	}
	seen := map[string]bool{}
	for _, x := range all {
		if seen[x.name] || x.title == "" {
			t.Errorf("experiment %q: twice, or without a title", x.name)
		}
		seen[x.name] = true
	}
	two, err := choose("micro, mainjob")
	if err != nil || len(two) != 2 || two[0].name != "micro" {
		t.Errorf("two by name: %v, %v", two, err)
	}
	for _, bad := range []string{"nothing", "", ","} {
		if _, err := choose(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestStatusField_KilobytesOfALine(t *testing.T) {
	text := "Name:\tx\nVmHWM:\t  123 kB\nVmRSS:\t 45 kB\n"
	if n := statusField(text, "VmHWM:"); n != 123<<10 {
		t.Errorf("%d", n)
	}
	if n := statusField(text, "VmNone:"); n != 0 {
		t.Errorf("a field that is not there: %d", n)
	}
}
