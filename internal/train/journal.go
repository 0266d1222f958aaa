package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"crayon/internal/fault"
)

// record is a step's line in the log.
type record struct {
	Step         int      `json:"step"` // from 1
	Loss         float64  `json:"loss"`
	RankAccuracy *float64 `json:"rank_accuracy,omitempty"`
	GradNorm     float64  `json:"grad_norm"`
	LearningRate float64  `json:"learning_rate"`
	Tokens       int      `json:"tokens"`
	Examples     int      `json:"examples"`
	Speed        float64  `json:"tokens_per_second"`
	ExampleSpeed float64  `json:"examples_per_second"`
}

// progress is the state that the record tells, of a run of the given steps.
func (r record) progress(steps int) Progress {
	p := Progress{
		Step: r.Step, Steps: steps, Loss: r.Loss, RankAccuracy: math.NaN(), GradNorm: r.GradNorm, LearningRate: r.LearningRate,
		Tokens: r.Tokens, Examples: r.Examples, TokensPerSecond: r.Speed, ExamplesPerSecond: r.ExampleSpeed,
	}
	if r.RankAccuracy != nil {
		p.RankAccuracy = *r.RankAccuracy
	}
	return p
}

// journal is the log of a run, in memory and, if it has a file, there.
type journal struct {
	path    string
	file    *os.File
	records []record
}

// openJournal opens the log to go on after the given step: what an earlier,
// cut-off run wrote of later steps is dropped.
func openJournal(path string, step int) (*journal, error) {
	j := &journal{path: path}
	if path == "" {
		return j, nil
	}
	if err := j.read(step); err != nil {
		return nil, j.fail("read", err)
	}
	var err error
	if j.file, err = os.Create(path); err != nil {
		return nil, j.fail("write", err)
	}
	for _, r := range j.records {
		if err := j.write(r); err != nil {
			j.close()
			return nil, err
		}
	}
	return j, nil
}

func (j *journal) fail(op string, err error) error {
	return &fault.Error{Op: op + " training log", Path: j.path, Err: err, Hint: "name another file for the log"}
}

func (j *journal) read(step int) error {
	if step == 0 {
		return nil
	}
	f, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r record
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Step != len(j.records)+1 || r.Step > step {
			break // a line cut off in writing, or of a step to be done again
		}
		j.records = append(j.records, r)
	}
	return lines.Err()
}

func (j *journal) add(p Progress) error {
	r := record{
		Step: p.Step, Loss: p.Loss, GradNorm: p.GradNorm, LearningRate: p.LearningRate,
		Tokens: p.Tokens, Examples: p.Examples, Speed: math.Round(p.TokensPerSecond), ExampleSpeed: math.Round(10*p.ExamplesPerSecond) / 10,
	}
	if !math.IsNaN(p.RankAccuracy) {
		r.RankAccuracy = &p.RankAccuracy
	}
	j.records = append(j.records, r)
	return j.write(r)
}

func (j *journal) write(r record) error {
	if j.file == nil {
		return nil
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	if err != nil {
		return j.fail("write", err)
	}
	return nil
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}

// smooth is the weight of the past in the plotted mean.
const smooth = 0.95

// plot draws each step's loss and its running mean; the path's extension names the format.
func (j *journal) plot(path string) error {
	raw, mean := make(plotter.XYs, len(j.records)), make(plotter.XYs, len(j.records))
	var sum, weight float64
	for i, r := range j.records {
		sum, weight = smooth*sum+(1-smooth)*r.Loss, smooth*weight+(1-smooth)
		raw[i] = plotter.XY{X: float64(r.Step), Y: r.Loss}
		mean[i] = plotter.XY{X: float64(r.Step), Y: sum / weight}
	}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = "Training loss", "step", "loss"
	p.Add(plotter.NewGrid())
	dots, err := plotter.NewScatter(raw)
	if err == nil {
		dots.GlyphStyle.Radius = vg.Points(1)
		dots.GlyphStyle.Color = plotutil.Color(2)
		var line *plotter.Line
		if line, err = plotter.NewLine(mean); err == nil {
			line.Color, line.Width = plotutil.Color(0), vg.Points(1.5)
			p.Add(dots, line)
			p.Legend.Add("a step", dots)
			p.Legend.Add("running mean", line)
			p.Legend.Top = true
			err = p.Save(16*vg.Centimeter, 9*vg.Centimeter, path)
		}
	}
	if err != nil {
		return &fault.Error{Op: "draw training loss", Path: path, Err: err, Hint: "give the picture a name that ends in .svg or .png"}
	}
	return nil
}
