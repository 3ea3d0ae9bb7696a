package hlog

import (
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// containerMemory returns how many bytes of memory the control groups leave this process, math.MaxInt64 when they set no
// limit.
func containerMemory() int64 { return groupMemory(os.DirFS("/")) }

// groupMemory is containerMemory of a machine whose files are in root. A group has at most what the groups above it have. Of
// version 2 it takes the limit as well as the mark from which on the group is slowed down; what cannot be read sets no limit.
func groupMemory(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return math.MaxInt64
	}
	least := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			least = min(least, groupLimit(root, "sys/fs/cgroup", fields[2], "memory.max", "memory.high"))
		case strings.Contains(","+fields[1]+",", ",memory,"):
			least = min(least, groupLimit(root, "sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	return least
}

// groupLimit returns the least number that the files of these names hold, in the directory of a group and in those above
// it. Within a container the group is often the root of what is mounted, whatever its path says.
func groupLimit(root fs.FS, mount, group string, files ...string) int64 {
	least := int64(math.MaxInt64)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		for _, name := range files {
			b, err := fs.ReadFile(root, path.Join(mount, dir, name))
			if err != nil {
				continue
			}
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // else it is "max"
				least = min(least, n)
			}
		}
		if dir == "/" {
			return least
		}
	}
}
