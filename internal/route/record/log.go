package record

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"crayon/internal/fault"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
	"crayon/internal/store"
)

// What an entry is.
const (
	Decided = "decision"
	Shadow  = "shadow" // the server's answer to a query that the device answered
)

// Entry is a line of the log: one query with what was measured and decided. It
// holds no word of it unless Query is kept.
type Entry struct {
	Kind    string    `json:"kind"`
	Time    time.Time `json:"time"`
	Name    string    `json:"name,omitempty"`  // of the customisation; "" the base model
	Digest  string    `json:"digest"`          // sha256 of the conversation, hex
	Query   string    `json:"query,omitempty"` // the last turn; only where route.log is text
	Turns   int       `json:"turns,omitempty"`
	Cluster string    `json:"cluster,omitempty"`

	Route    string   `json:"route,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Mode     string   `json:"mode,omitempty"`
	Triggers []string `json:"triggers,omitempty"`
	Degraded bool     `json:"degraded,omitempty"`

	Signals     signal.Values `json:"signals,omitempty"`
	Calibration string        `json:"calibration,omitempty"` // its id; "" thresholds alone
	Device      float64       `json:"device,omitempty"`      // probability of being right, where calibrated
	Server      float64       `json:"server,omitempty"`
	Gain        float64       `json:"gain,omitempty"`
	Threshold   float64       `json:"threshold,omitempty"`
	Send        bool          `json:"send,omitempty"`      // what the signals say, whatever mode and server say
	Undrafted   bool          `json:"undrafted,omitempty"` // decided without a draft, by what was known before one

	Outcome   string   `json:"outcome,omitempty"` // "ok", or a word for what failed
	Model     string   `json:"model,omitempty"`   // of the server that answered
	Prompt    int      `json:"prompt_tokens,omitempty"`
	Tokens    int      `json:"completion_tokens,omitempty"`
	MS        int64    `json:"ms,omitempty"`
	Agreement *float64 `json:"agreement,omitempty"` // of a shadow, 0 to 1
}

// Row is the entry as a calibration is asked about it.
func (e *Entry) Row() calibrate.Row {
	v := e.Signals
	if v == nil {
		v = signal.None()
	}
	return calibrate.Row{Cluster: e.Cluster, Signals: v}
}

// Told says whether the signals were heard to the end: not where the side was
// named before a draft, which could have spoken for the server.
func (e *Entry) Told() bool { return e.Send || !e.Undrafted }

// Bounds of the log: when a file reaches mostLog it becomes the older one, whose
// place there is one of.
const (
	logName  = "decisions.jsonl"
	oldName  = "decisions.1.jsonl"
	mostLog  = 8 << 20
	mostLine = 1 << 20
)

// LogPath is the log's file.
func (f *Folder) LogPath() string { return filepath.Join(f.dir, logName) }

// Append adds an entry, whole or not at all.
func (f *Folder) Append(e *Entry) error {
	fail := func(err error) error {
		return &fault.Error{Op: "write decision log", Path: f.LogPath(), Err: err, Hint: "CRAYON_ROUTE_LOG=off keeps none"}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return fail(err)
	}
	line = append(line, '\n')
	if len(line) > mostLine {
		return fail(errors.New("the entry is too long"))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := store.MakeDir(f.dir); err != nil {
		return err
	}
	if err := f.rotate(); err != nil {
		return err
	}
	w, err := os.OpenFile(f.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	_, err = w.Write(line) // one write: lines of several processes do not mix
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// rotate makes the log the older one when it is full.
func (f *Folder) rotate() error {
	full := func() bool {
		info, err := os.Stat(f.LogPath())
		return err == nil && info.Size() >= mostLog
	}
	if !full() {
		return nil
	}
	held, err := store.Lock(context.Background(), filepath.Join(f.dir, ".decisions.lock"))
	if err != nil {
		return err
	}
	defer held.Unlock()
	if !full() { // another process was first
		return nil
	}
	return store.Rename(f.LogPath(), filepath.Join(f.dir, oldName))
}

// Entries calls each for every entry, the oldest first. A line that a crash cut
// off is left out, and counted.
func (f *Folder) Entries(each func(*Entry) error) (damaged int, err error) {
	for _, name := range []string{oldName, logName} {
		n, err := readLog(filepath.Join(f.dir, name), each)
		damaged += n
		if err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// ReadLog is Entries of a file that was named.
func ReadLog(path string, each func(*Entry) error) (damaged int, err error) {
	if _, err := os.Stat(path); err != nil {
		return 0, &fault.Error{Op: "read decision log", Path: path, Err: errors.Unwrap(err), Exit: fault.ExitUsage}
	}
	return readLog(path, each)
}

func readLog(path string, each func(*Entry) error) (damaged int, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, &fault.Error{Op: "read decision log", Path: path, Err: err}
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, 1<<16)
	for {
		line, err := readLine(lines)
		if len(line) > 0 {
			var e Entry
			if json.Unmarshal(line, &e) != nil || e.Kind == "" {
				damaged++
			} else if err := each(&e); err != nil {
				return damaged, err
			}
		}
		if err != nil {
			return damaged, nil
		}
	}
}

// readLine is the next line, cut at mostLine.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line) < mostLine {
			line = append(line, part[:min(len(part), mostLine-len(line))]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
				line = line[:len(line)-1]
			}
			return line, err
		}
	}
}
