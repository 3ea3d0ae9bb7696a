package hlog

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestGroupMemory(t *testing.T) {
	const none = int64(math.MaxInt64)
	files := func(nameAndContent ...string) fstest.MapFS {
		m := fstest.MapFS{}
		for i := 0; i < len(nameAndContent); i += 2 {
			m[nameAndContent[i]] = &fstest.MapFile{Data: []byte(nameAndContent[i+1])}
		}
		return m
	}
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"no groups at all":       {files(), none},
		"no limit":               {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), none},
		"rubbish":                {files("proc/self/cgroup", "rubbish\n0:\n\n", "sys/fs/cgroup/memory.max", "17\n"), none},
		"the root of container":  {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "536870912\n"), 512 << 20},
		"path of the host":       {files("proc/self/cgroup", "0::/kubepods/pod1/c2\n", "sys/fs/cgroup/memory.max", "1000000\n"), 1000000},
		"path above the mount":   {files("proc/self/cgroup", "0::/../../c2\n", "sys/fs/cgroup/memory.max", "1000000\n"), 1000000},
		"not a number":           {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "12x\n"), none},
		"nothing is no limit":    {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "0\n"), none},
		"slowed down before":     {files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "900\n", "sys/fs/cgroup/memory.high", "800\n"), 800},
		"a group above has less": {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "700\n"), 700},
		"this one has less":      {files("proc/self/cgroup", "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max", "600\n", "sys/fs/cgroup/a/memory.max", "700\n"), 600},
		"another one's limit":    {files("proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/b/memory.max", "600\n"), none},
		"version 1": {files("proc/self/cgroup", "5:devices:/a\n4:memory:/docker/c1\n0::/\n",
			"sys/fs/cgroup/memory/docker/c1/memory.limit_in_bytes", "268435456\n", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 256 << 20},
		"version 1 in a container": {files("proc/self/cgroup", "4:cpu,memory:/docker/c1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n"), 256 << 20},
		"version 1 without a limit": {files("proc/self/cgroup", "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 9223372036854771712},
	} {
		if got := groupMemory(c.files); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
