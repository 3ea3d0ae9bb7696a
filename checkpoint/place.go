package checkpoint

import (
	"cmp"
	"maps"
	"slices"
)

// Versions returns the versions of the directory and those that are known to be on the remote (see Known), oldest first,
// each with where it lies. A version of the remote that is another one than that of the same id in the directory is not
// listed, nor is one whose object has not been read yet. It does no I/O.
func (m *Mirror) Versions() []Info {
	infos := m.dir.Versions()
	m.mu.Lock()
	there, known := maps.Clone(m.there), maps.Clone(m.known)
	m.mu.Unlock()
	for v, sum := range there {
		i, found := slices.BinarySearchFunc(infos, v, func(i Info, v Version) int { return cmp.Compare(i.Version, v) })
		switch r := known[v]; {
		case found && sum == m.dir.sum(v):
			infos[i].Place |= OnRemote
		case !found && r != nil:
			info := r.m.Info()
			info.Place = OnRemote
			infos = slices.Insert(infos, i, info)
		}
	}
	return infos
}
