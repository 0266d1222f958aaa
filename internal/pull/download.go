package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// download brings one source's bytes, all parts, into the .part file.
type download struct {
	p    *Puller
	job  job
	src  Source
	part string
	want string // sha256 of the whole; "" until somebody tells one

	f       *os.File
	state   state
	resumed bool // some bytes are of an earlier pull
}

// state is the file .part.json: what the .part file holds, so that a later
// pull can go on.
type state struct {
	Source string `json:"source"`
	Done   int    `json:"done"`           // parts that are whole
	Base   int64  `json:"base"`           // bytes of those
	ETag   string `json:"etag,omitempty"` // of the part under way; strong only
	Want   string `json:"want,omitempty"` // the digest the source announced
}

func (d *download) run(ctx context.Context) (err error) {
	f, err := os.OpenFile(d.part, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return d.fault(err)
	}
	d.f = f
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = d.fault(cerr)
		}
	}()
	if err := d.load(); err != nil {
		return err
	}
	for i := d.state.Done; i < len(d.src.URIs); i++ {
		u, err := ParseURI(d.src.URIs[i])
		if err != nil {
			return err
		}
		switch u.Scheme {
		case HF:
			err = d.http(ctx, u, u.resolve(d.p.o.Hub))
		case HTTPS:
			err = d.http(ctx, u, u.URL)
		case PyPI:
			err = d.wheel(ctx, u)
		case Local:
			err = d.copyFile(ctx, u)
		}
		if err != nil {
			return err
		}
		size, err := d.size()
		if err != nil {
			return err
		}
		// Synced before it is called done: the digest of the whole can't
		// tell which part a power cut has spoiled.
		if err := f.Sync(); err != nil {
			return d.fault(err)
		}
		d.state.Done, d.state.Base, d.state.ETag = i+1, size, ""
		if err := d.save(); err != nil {
			return err
		}
	}
	if size, err := d.size(); err != nil {
		return err
	} else if d.job.bytes > 0 && size != d.job.bytes {
		d.discard()
		return d.wrongSize(size)
	}
	return nil
}

func (d *download) wrongSize(got int64) error {
	return &fault.Error{Op: "check", Path: sourceText(d.src), Err: fmt.Errorf("it has %d bytes, want %d: this is not the file this program knows", got, d.job.bytes), Hint: "order another source first with CRAYON_SOURCES", Exit: fault.ExitVerify}
}

// load takes over what an earlier pull of the same source left, or starts
// empty.
func (d *download) load() error {
	fresh := state{Source: sourceText(d.src)}
	d.state = fresh
	data, err := store.ReadFile(d.statePath(), 64<<10)
	var s state
	size, serr := d.size()
	if serr != nil {
		return serr
	}
	if err == nil && json.Unmarshal(data, &s) == nil && s.Source == fresh.Source &&
		s.Done >= 0 && s.Done <= len(d.src.URIs) && s.Base >= 0 && s.Base <= size {
		d.state, d.resumed = s, size > 0
		if d.job.sha256 == "" {
			d.want = s.Want
		}
		return nil
	}
	return d.truncate(0)
}

func (d *download) statePath() string { return hidden(d.job.final, "part.json") }

func (d *download) save() error {
	data, err := json.Marshal(d.state)
	if err != nil {
		return d.fault(err)
	}
	return store.WriteBytes(d.statePath(), data)
}

// discard throws the bytes away, so that the next attempt starts empty.
func (d *download) discard() {
	os.Remove(d.part)
	os.Remove(d.statePath())
}

func (d *download) size() (int64, error) {
	info, err := d.f.Stat()
	if err != nil {
		return 0, d.fault(err)
	}
	return info.Size(), nil
}

func (d *download) truncate(to int64) error {
	if err := d.f.Truncate(to); err != nil {
		return d.fault(err)
	}
	return nil
}

// restart drops what there is of the part under way.
func (d *download) restart() error {
	d.state.ETag = ""
	return d.truncate(d.state.Base)
}

func (d *download) fault(err error) error {
	return &fault.Error{Op: "pull", Path: d.part, Err: err}
}

// room is how many more bytes may come.
func (d *download) room(have int64) int64 {
	if d.job.bytes > 0 {
		return d.job.bytes - have
	}
	return cmp.Or(d.job.most, d.p.o.MaxBytes) - have
}

func (d *download) tell(stage Stage, bytes, total int64) {
	if total == 0 {
		total = d.job.bytes
	}
	d.p.o.Progress(Progress{Stage: stage, Source: d.src.URIs[min(d.state.Done, len(d.src.URIs)-1)], Party: d.src.Party, Bytes: bytes, Total: total})
}

// errWrite marks an error of the disk apart from one of the source.
type errWrite struct{ err error }

func (e *errWrite) Error() string { return e.err.Error() }
func (e *errWrite) Unwrap() error { return e.err }

// append copies r to the end of the .part file, at most limit bytes, telling
// the progress; each is called after each read.
func (d *download) append(r io.Reader, limit, total int64, stage Stage, each func()) (n int64, err error) {
	at, err := d.f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, &errWrite{err}
	}
	buf := make([]byte, 256<<10)
	d.tell(stage, at, total)
	for {
		m, rerr := r.Read(buf)
		each()
		if int64(m) > limit-n {
			return n, errTooMany
		}
		if m > 0 {
			if _, err := d.f.Write(buf[:m]); err != nil {
				return n, &errWrite{err}
			}
			n += int64(m)
			d.tell(stage, at+n, total)
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

var errTooMany = errors.New("more bytes than the file may have")

// copyFile takes a file of this machine.
func (d *download) copyFile(ctx context.Context, u URI) error {
	if err := d.restart(); err != nil {
		return err
	}
	d.resumed = false
	f, err := os.Open(u.File)
	if err != nil {
		return &fault.Error{Op: "pull", Path: u.File, Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return &fault.Error{Op: "pull", Path: u.File, Err: err}
	}
	if d.job.bytes > 0 && info.Size() != d.job.bytes {
		return d.wrongSize(info.Size())
	}
	if _, err := d.append(&contextReader{ctx, f}, d.room(d.state.Base), info.Size(), Downloading, func() {}); err != nil {
		return &fault.Error{Op: "pull", Path: u.File, Err: err}
	}
	return nil
}
