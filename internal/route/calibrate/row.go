// Package calibrate learns from rows with known answers how probable it is that
// the device is right, what the server would gain, and from which gain on a
// query should leave so that a promise holds. It is pure but for reading and
// writing rows and the calibration that is part of the program.
package calibrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"crayon/internal/fault"
	"crayon/internal/route/signal"
)

// Row is one query with what became of it.
type Row struct {
	User    string // rows of one name share a level; "": none
	Cluster string // so do those of a cluster, which is known of any query: the nearest indicator's place; "": none
	Group   string // what is left out together in cross-fitting, such as a family of data sets; "": the row alone
	Signals signal.Values
	Device  float64 // 1 the device is right, 0 wrong, a share between; NaN: not known
	Server  float64 // the same of the server
}

type jsonRow struct {
	User    string        `json:"user,omitempty"`
	Cluster string        `json:"cluster,omitempty"`
	Group   string        `json:"group,omitempty"`
	Signals signal.Values `json:"signals"`
	Device  *float64      `json:"device"` // null: not known
	Server  *float64      `json:"server"`
}

// MarshalJSON writes NaN as null.
func (r Row) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonRow{r.User, r.Cluster, r.Group, r.Signals, known(r.Device), known(r.Server)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Row) UnmarshalJSON(data []byte) error {
	var j jsonRow
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*r = Row{j.User, j.Cluster, j.Group, j.Signals, unknown(j.Device), unknown(j.Server)}
	if r.Signals == nil {
		r.Signals = signal.None()
	}
	for name, x := range map[string]float64{"device": r.Device, "server": r.Server} {
		if x < 0 || x > 1 {
			return fmt.Errorf("%s is %g, not between 0 and 1", name, x)
		}
	}
	return nil
}

func known(x float64) *float64 {
	if math.IsNaN(x) {
		return nil
	}
	return &x
}

func unknown(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// Bounds of a file of rows.
const (
	mostRows = 1 << 20
	mostLine = 1 << 20 // bytes
)

// ReadRows reads rows, a line of JSON each.
func ReadRows(name string, r io.Reader) ([]Row, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 1<<16), mostLine)
	var rows []Row
	n := 0
	fail := func(err error) ([]Row, error) {
		return nil, &fault.Error{Op: "read routing rows", Path: fmt.Sprintf("%s:%d", name, n), Err: err, Exit: fault.ExitVerify}
	}
	for lines.Scan() {
		n++
		if len(lines.Bytes()) == 0 {
			continue
		}
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return fail(err)
		}
		if len(rows) == mostRows {
			return fail(fmt.Errorf("more than %d rows", mostRows))
		}
		rows = append(rows, row)
	}
	if err := lines.Err(); err != nil {
		return fail(err)
	}
	if len(rows) == 0 {
		return fail(errors.New("there is no row"))
	}
	return rows, nil
}

// WriteRows writes what ReadRows reads.
func WriteRows(w io.Writer, rows []Row) error {
	enc := json.NewEncoder(w)
	for i := range rows {
		if err := enc.Encode(rows[i]); err != nil {
			return fmt.Errorf("write routing rows: %w", err)
		}
	}
	return nil
}
