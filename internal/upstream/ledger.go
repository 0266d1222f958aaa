package upstream

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/store"

	"github.com/gofrs/flock"
)

// What an entry is about.
const (
	KindHTTP    = "http"
	KindProcess = "process" // a child process that dials, such as pip
)

// State of a call in the ledger.
const (
	StateBegun   = "begun"   // it left, and no end is known: running, or the process died
	StateEnded   = "ended"   // it ended
	StateRefused = "refused" // it never left
)

// Entry is one call. A call is two lines of the file, one before it leaves and
// one at its end, joined by ID when read.
type Entry struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Time      time.Time `json:"time"` // when it left
	Purpose   string    `json:"purpose,omitempty"`
	Kind      string    `json:"kind,omitempty"`
	Host      string    `json:"host,omitempty"`   // host:port; empty for a process
	Method    string    `json:"method,omitempty"` // HTTP method, or the program
	Path      string    `json:"path,omitempty"`   // without query values; for a process, its arguments
	Why       string    `json:"why,omitempty"`    // such as the routing reason
	Key       string    `json:"key,omitempty"`    // name of the client's key, never the key
	Status    int       `json:"status,omitempty"` // HTTP status, or exit code of the process
	Out       int64     `json:"out,omitempty"`    // body bytes sent
	In        int64     `json:"in,omitempty"`     // body bytes received
	OutSHA256 string    `json:"out_sha256,omitempty"`
	InSHA256  string    `json:"in_sha256,omitempty"` // of what was received, whole or not
	MS        int64     `json:"ms,omitempty"`        // from leaving to the end
	Error     string    `json:"error,omitempty"`

	PromptTokens     int64  `json:"prompt_tokens,omitempty"` // as counted by the budget
	CompletionTokens int64  `json:"completion_tokens,omitempty"`
	Cost             Money  `json:"cost,omitempty"`    // in the currency of the server's prices
	Counted          string `json:"counted,omitempty"` // usage, bytes, most or none: how the tokens are known
}

// Refused says whether the call never left.
func (e Entry) Refused() bool { return e.State == StateRefused }

// Ledger is the append-only file of calls, JSON lines, mode 0600. Several
// processes may write it at once. A nil *Ledger keeps nothing.
type Ledger struct {
	path string
	mu   sync.Mutex
}

// OpenLedger uses the file at path, making its folder; it fails early when the
// file can't be written.
func OpenLedger(path string) (*Ledger, error) {
	if err := store.MakeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, ledgerFault(path, err)
	}
	return &Ledger{path: path}, f.Close()
}

// LedgerAt is OpenLedger without a look at the file: if it can't be written,
// every call is refused when it wants to leave.
func LedgerAt(path string) *Ledger { return &Ledger{path: path} }

// Path is the ledger's file.
func (l *Ledger) Path() string { return l.path }

// Entries reads the calls that left at or after since, in the order they left.
func (l *Ledger) Entries(since time.Time) ([]Entry, error) {
	if l == nil {
		return nil, nil
	}
	entries, _, err := ReadLedger(l.path, since)
	return entries, err
}

// maxLine bounds a line of the file; longer ones are not ours.
const maxLine = 64 << 10

// ReadLedger reads a ledger's calls that left at or after since. Lines that are
// no whole entries (the last one of a crash) are skipped and counted. A missing
// file has no calls.
func ReadLedger(path string, since time.Time) (entries []Entry, skipped int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, ledgerFault(path, err)
	}
	defer f.Close()
	entries, skipped, err = parseLedger(f, since)
	if err != nil {
		return nil, skipped, ledgerFault(path, err)
	}
	return entries, skipped, nil
}

func parseLedger(r io.Reader, since time.Time) (entries []Entry, skipped int, err error) {
	at := map[string]int{}
	br := bufio.NewReaderSize(r, maxLine)
	long := false
	for {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = true
			continue
		}
		if err != nil && err != io.EOF {
			return nil, skipped, err
		}
		whole := err == nil && !long
		long = false
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 {
			var e Entry
			switch {
			case !whole || json.Unmarshal(trimmed, &e) != nil || e.ID == "":
				skipped++
			case e.State == StateEnded:
				i, ok := at[e.ID]
				if !ok {
					break // began before since, or its first line is lost
				}
				b := &entries[i]
				b.State, b.Status, b.Error, b.MS = e.State, e.Status, e.Error, e.MS
				b.Out, b.In, b.OutSHA256, b.InSHA256 = e.Out, e.In, e.OutSHA256, e.InSHA256
				b.PromptTokens, b.CompletionTokens, b.Cost, b.Counted = e.PromptTokens, e.CompletionTokens, e.Cost, e.Counted
			case e.State == StateBegun || e.State == StateRefused:
				if _, twice := at[e.ID]; twice {
					skipped++
				} else if !e.Time.Before(since) {
					at[e.ID] = len(entries)
					entries = append(entries, e)
				}
			default:
				skipped++
			}
		} else if !whole && len(line) > 0 {
			skipped++
		}
		if err == io.EOF {
			return entries, skipped, nil
		}
	}
}

// call is one that was let out; end closes it in the ledger.
type call struct {
	ledger *Ledger
	id     string
	start  time.Time
}

func (l *Ledger) begin(e Entry) (*call, error) {
	c := &call{ledger: l, start: time.Now()}
	if l == nil {
		return c, nil
	}
	var err error
	if c.id, err = newID(); err != nil {
		return nil, err
	}
	e.ID, e.State, e.Time = c.id, StateBegun, c.start.UTC()
	return c, l.append(e)
}

func (c *call) end(e Entry) error {
	if c.ledger == nil {
		return nil
	}
	e.ID, e.State, e.Time, e.MS = c.id, StateEnded, time.Now().UTC(), time.Since(c.start).Milliseconds()
	return c.ledger.append(e)
}

// BodyPath is where the body of an entry is kept, if bodies are: its request's
// or its response's.
func (l *Ledger) BodyPath(id, side string) string {
	return filepath.Join(filepath.Dir(l.path), "ledger-bodies", id+"."+side)
}

// keep writes a body beside the ledger.
func (c *call) keep(side string, body []byte) error {
	if c.ledger == nil || len(body) == 0 {
		return nil
	}
	return store.WriteBytes(c.ledger.BodyPath(c.id, side), body)
}

func (l *Ledger) refused(e Entry, why string) error {
	if l == nil {
		return nil
	}
	id, err := newID()
	if err != nil {
		return err
	}
	e.ID, e.State, e.Time, e.Error = id, StateRefused, time.Now().UTC(), why
	return l.append(e)
}

func newID() (string, error) {
	var b [12]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", &fault.Error{Op: "write ledger", Err: err}
	}
	return hex.EncodeToString(b[:]), nil
}

// append writes one line in one write, under a lock that other processes keep
// too, after ending a line that a crash left half.
func (l *Ledger) append(e Entry) (err error) {
	line, err := json.Marshal(e)
	if err != nil {
		return ledgerFault(l.path, err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return ledgerFault(l.path, err)
	}
	lock := flock.New(l.path+".lock", flock.SetPermissions(0o600))
	if err := lock.Lock(); err != nil {
		return ledgerFault(l.path, err)
	}
	defer lock.Unlock()
	// Opened anew for each call, so that a ledger moved away by its owner is
	// begun again rather than written unseen.
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return ledgerFault(l.path, err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = ledgerFault(l.path, cerr)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return ledgerFault(l.path, err)
	}
	if info.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
			return ledgerFault(l.path, err)
		}
		if last[0] != '\n' {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := f.Write(line); err != nil {
		return ledgerFault(l.path, err)
	}
	return nil
}

func ledgerFault(path string, err error) error {
	hint := "make the ledger's folder writable: what can't be listed does not leave"
	if atomicfile.IsFull(err) {
		hint = "free some space: what can't be listed does not leave"
	}
	return &fault.Error{Op: "use ledger", Path: path, Err: err, Hint: hint}
}
