package checkpoint

import (
	"cmp"
	"slices"
)

// Versions returns the versions of the directory and those that are known to be on the remote (see Known), oldest first,
// each with where it lies. A version of the remote that is another one than that of the same id in the directory is not
// listed. It does no I/O.
func (m *Mirror) Versions() []Info {
	infos := m.dir.Versions()
	for _, r := range m.versions() {
		i, found := slices.BinarySearchFunc(infos, r.m.Version, func(i Info, v Version) int { return cmp.Compare(i.Version, v) })
		switch {
		case !found:
			info := r.m.Info()
			info.Place = OnRemote
			infos = slices.Insert(infos, i, info)
		case r.sum == m.dir.sum(r.m.Version):
			infos[i].Place |= OnRemote
		}
	}
	return infos
}
