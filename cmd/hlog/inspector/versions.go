package inspector

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// versionLine is how a version is shown.
type versionLine struct {
	Version, Parent                                  uint64
	Created                                          time.Time
	Current                                          bool
	Place                                            string `json:",omitempty"` // here, remote or both, where a remote is asked
	Cookie                                           []byte
	DeltaBytes, LogBytes, ImageBytes, ExclusiveBytes int64
}

func (x *call) versions() error {
	all, asked, err := x.listed()
	if err != nil {
		return err
	}
	for _, i := range all {
		mark, place, lies := " ", "", ""
		if i.Current {
			mark = "*"
		}
		if asked {
			place = i.Place.String()
			lies = "  lies " + place
		}
		line := versionLine{uint64(i.Version), uint64(i.Parent), i.Created, i.Current, place, i.Cookie, i.DeltaBytes, i.LogBytes, i.ImageBytes, i.ExclusiveBytes}
		err := x.say(line, "%s %d  parent %d  %s%s  delta %d  log %d  index %d  alone %d  cookie %q\n", mark, i.Version, i.Parent,
			i.Created.UTC().Format(time.RFC3339), lies, i.DeltaBytes, i.LogBytes, i.ImageBytes, i.ExclusiveBytes, i.Cookie)
		if err != nil {
			return err
		}
	}
	return nil
}

// listed returns the versions; asked is true when a remote has said which of them it has.
func (x *call) listed() (all []checkpoint.Info, asked bool, err error) {
	_, far, err := x.opener(x.args[0])
	switch {
	case err != nil:
		return nil, false, err
	case x.beside != "" && far:
		return nil, false, fmt.Errorf("-remote is for the versions of a directory, and %s is a remote; %w", x.args[0], errUsage)
	case x.beside != "":
		all, err = x.listedBeside()
		return all, true, err
	}
	s, err := x.open()
	if err != nil {
		return nil, false, err
	}
	defer s.Close()
	all, err = s.Versions()
	for i := range all {
		if far {
			all[i].Place = checkpoint.OnRemote
		}
	}
	return all, far, err
}

// listedBeside returns the versions of a directory and those of a remote. A remote that is nobody's has none.
func (x *call) listedBeside() ([]checkpoint.Info, error) {
	o, far, err := x.opener(x.beside)
	if err == nil && !far {
		err = fmt.Errorf("-remote: %s is no remote; %w", x.beside, errUsage)
	}
	if err != nil {
		return nil, err
	}
	remote, err := o.Read(x.ctx, x.beside)
	if err != nil {
		return nil, err
	}
	d, err := x.openAside(checkpoint.OpenOptions{Aside: true, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.NewMirror(d, remote, checkpoint.MirrorOptions{})
	if err != nil {
		return nil, err
	}
	if _, err := m.Stands(x.ctx, d.MaxID()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return m.Versions(), nil
}
