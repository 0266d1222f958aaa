package pooltrain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"crayon/internal/accel"
	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/chat"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/reference"
	"crayon/internal/task"
	"crayon/internal/tokenizer"
	"crayon/internal/train"
)

// Options of Run.
type Options struct {
	Model     string // GGUF file of the base model
	ModelName string // its name, such as "smollm2-135m"
	Data      *qa.Data
	Recipe    Recipe
	Out       string // the pool's file; beside it while training: a checkpoint, a log, a loss curve
	Rivals    string // also train the recipe's rivals, to this file of baselines; "": do not
	Workers   int    // 0: one a core
	Progress  func(Stage)

	Accelerator accel.Engine // computes features and trains; nil: this machine's processor
}

// Stage is what a run is doing.
type Stage struct {
	Name  string          // "rows", "features", "indicators", "train", "write"
	Done  int             // of Total
	Total int             // 0: unknown
	Step  *train.Progress // while training
}

// Colours name the blended adapters, in the order of their indicators.
var Colours = []string{"red", "orange", "yellow", "green", "teal", "blue", "violet", "pink", "brown", "grey", "olive", "navy", "coral", "mint", "plum", "sand"}

// SharedName names the adapter everyone has.
const SharedName = "shared"

func colour(i int) string {
	if i < len(Colours) {
		return Colours[i]
	}
	return fmt.Sprintf("%s-%d", Colours[i%len(Colours)], i/len(Colours)+1)
}

// Run trains a pool and writes it to o.Out. Cancelled, it leaves a checkpoint
// that the next Run with the same settings goes on from.
func Run(ctx context.Context, o Options) (*pool.Pool, error) {
	r, err := start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.model.Close()
	for _, step := range []func() error{r.rows, r.features, r.indicators, r.examples, r.train} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p, err := r.write()
	if err == nil && o.Rivals != "" {
		err = r.rivals(p)
	}
	return p, err
}

// Single trains the benchmark's rival and returns it: one adapter of
// Recipe.SingleRank on the same rows in the same order, with the same loss and
// number of steps as the pool. o.Out only names its traces.
func Single(ctx context.Context, o Options) (*adapter.Adapter, error) {
	if o.Recipe.SingleRank == 0 {
		return nil, &fault.Error{Op: "train single", Path: "recipe", Err: errors.New("single_rank is 0"), Hint: "set single_rank to the blend's run-time rank", Exit: fault.ExitUsage}
	}
	r, err := start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.model.Close()
	steps := []func() error{r.rows, r.examples}
	if o.Recipe.Shots > 0 { // which examples are worked is told by the features
		steps = []func() error{r.rows, r.features, r.examples}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	p, err := r.alone(r.config(), o.Recipe.SingleRank)
	if err != nil {
		return nil, err
	}
	return p.List([]string{SingleName})[0], nil
}

// SingleName is the rival's name among a pool's baselines.
const SingleName = "single"

type run struct {
	o       Options
	ctx     context.Context
	started time.Time

	model      *model.Model
	training   *qa.Training
	picked     []qa.Labelled
	tokens     *tokenizer.Tokenizer
	prompt     pool.Prompt
	form       task.Form
	shape      arch.Config
	lineage    string
	mean       []float32
	scale      []float32
	directions [][]float32
	centroids  [][]float32
	of         []int
	tau        float32
	data       []train.Example
	params     *train.Params
	last       train.Progress
}

// start opens the model and its tokenizer.
func start(ctx context.Context, o Options) (*run, error) {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if err := o.Recipe.check(); err != nil {
		return nil, &fault.Error{Op: "train pool", Path: "recipe", Err: err, Exit: fault.ExitUsage}
	}
	if o.Rivals != "" && len(o.Recipe.Rivals) == 0 {
		return nil, &fault.Error{Op: "train rivals", Path: "recipe", Err: errors.New("it names none"), Hint: "list them under rivals: (docs/pool.md)", Exit: fault.ExitUsage}
	}
	// Told now, not after the features of all rows.
	if info, err := os.Stat(filepath.Dir(o.Out)); err != nil || !info.IsDir() {
		return nil, &fault.Error{Op: "train pool", Path: o.Out, Err: errors.New("there is no such folder to write to"), Hint: "mkdir -p " + filepath.Dir(o.Out), Exit: fault.ExitUsage}
	}
	m, err := model.Open(o.Model, model.Options{Threads: o.Workers})
	if err != nil {
		return nil, err
	}
	r := &run{o: o, ctx: ctx, started: time.Now(), model: m, shape: m.Config}
	if err := r.prepare(); err != nil {
		m.Close()
		return nil, err
	}
	return r, nil
}

func (r *run) prepare() error {
	var err error
	f := r.model.File()
	if r.tokens, err = tokenizer.FromGGUF(f); err != nil {
		return err
	}
	if r.lineage, err = gguf.Fingerprint(f); err != nil {
		return err
	}
	// Plain ChatML where the model knows its tokens: the models' own templates
	// add system turns that cost every prompt and every training row.
	r.prompt = pool.Prompt{System: r.o.Recipe.System, Template: chat.ChatML}
	if _, ok := r.tokens.ID("<|im_start|>"); !ok {
		own, err := chat.FromGGUF(f)
		if err != nil {
			return err
		}
		r.prompt.Template = own.Source()
	}
	r.form, err = device.NewForm(r.tokens, r.prompt)
	return err
}

func (r *run) stage(name string, done, total int) {
	if r.o.Progress != nil {
		r.o.Progress(Stage{Name: name, Done: done, Total: total})
	}
}

func (r *run) rows() error {
	r.stage("rows", 0, 0)
	var err error
	if r.training, err = qa.Sample(r.ctx, r.o.Data, r.o.Recipe.Rows); err != nil {
		return err
	}
	r.picked = slices.DeleteFunc(r.training.Ordered(r.o.Recipe.Rows.Seed), func(l qa.Labelled) bool {
		return len(l.Choices) < 2 || strings.TrimSpace(l.Question) == ""
	})
	if len(r.picked) < 4*r.o.Recipe.Adapters {
		return &fault.Error{Op: "train pool", Path: "recipe", Exit: fault.ExitUsage,
			Err: fmt.Errorf("the recipe leaves %d rows with choices for %d adapters", len(r.picked), r.o.Recipe.Adapters), Hint: "raise the recipe's caps"}
	}
	r.picked = append(r.picked, topics(r.picked, r.o.Recipe.Topics, r.o.Recipe.Rows.Seed)...)
	if r.o.Recipe.Letters {
		r.picked = lettered(r.picked, r.o.Recipe.Rows.Seed)
	}
	return nil
}

// features computes every row's direction.
func (r *run) features() error {
	f := pool.Feature{Layer: r.o.Recipe.FeatureLayer, MaxTokens: featureTokens}
	var on device.Featurer = r.model
	batch := featureBatch
	if r.o.Accelerator != nil {
		on, batch = r.o.Accelerator, acceleratorBatch
	}
	raw := make([][]float32, 0, len(r.picked))
	for lo := 0; lo < len(r.picked); lo += batch {
		var questions []string
		for _, row := range r.picked[lo:min(lo+batch, len(r.picked))] {
			questions = append(questions, row.Question)
		}
		part, err := device.RawFeatures(r.ctx, on, r.tokens, f, questions)
		if err != nil {
			return err
		}
		raw = append(raw, part...)
		r.stage("features", len(raw), len(r.picked))
	}
	r.mean, r.scale = moments(raw)
	if !r.o.Recipe.FeatureScale {
		r.scale = nil
	}
	r.directions = make([][]float32, len(raw))
	for i := range raw {
		var err error
		if r.directions[i], err = pool.Direction(raw[i], r.mean, r.scale); err != nil {
			return err
		}
	}
	return nil
}

// How many questions' features are computed together.
const (
	featureBatch     = 64
	acceleratorBatch = 4096
)

// moments are the mean of each dimension and one over its deviation.
func moments(x [][]float32) (mean, scale []float32) {
	mean, scale = make([]float32, len(x[0])), make([]float32, len(x[0]))
	for d := range mean {
		var sum, squares float64
		for _, v := range x {
			sum += float64(v[d])
		}
		m := sum / float64(len(x))
		for _, v := range x {
			squares += (float64(v[d]) - m) * (float64(v[d]) - m)
		}
		mean[d], scale[d] = float32(m), float32(1/(math.Sqrt(squares/float64(len(x)))+1e-6))
	}
	return mean, scale
}

const featureTokens = 128

// indicators clusters the rows and sets the temperature at which the largest
// of a row's weights is LargestShare on average.
func (r *run) indicators() error {
	r.stage("indicators", 0, 0)
	team := kernel.NewTeam(r.o.Workers)
	defer team.Close()
	r.centroids, r.of = kmeans(team, r.directions, r.o.Recipe.Adapters, 40, r.o.Recipe.Rows.Seed)
	low, high := 1e-4, 10.0 // the mean largest weight falls as tau rises
	for range 40 {
		mid := math.Sqrt(low * high)
		if r.largest(float32(mid)) > r.o.Recipe.LargestShare {
			low = mid
		} else {
			high = mid
		}
	}
	r.tau = float32(math.Sqrt(low * high))
	return r.ctx.Err()
}

func (r *run) similarity(i int) []float32 {
	sim := make([]float32, len(r.centroids))
	for j, c := range r.centroids {
		sim[j] = pool.Cosine(r.directions[i], c)
	}
	return sim
}

func (r *run) largest(tau float32) float64 {
	step := max(1, len(r.directions)/2000)
	var sum float64
	n := 0
	for i := 0; i < len(r.directions); i += step {
		sum += float64(slices.Max(pool.Weights(r.similarity(i), tau)))
		n++
	}
	return sum / float64(n)
}

func (r *run) examples() error {
	r.data = make([]train.Example, len(r.picked))
	b := newBuilder(&r.form, &r.o.Recipe, r.picked, r.directions)
	for i := range r.picked {
		ex, nested, err := b.example(i)
		if err != nil {
			return err
		}
		if r.centroids != nil {
			ex.Weights = pool.Weights(r.similarity(i), r.tau)
			if nested {
				clear(ex.Weights)
			}
		}
		r.data[i] = ex
	}
	return nil
}

func (r *run) config() train.Config {
	c := r.o.Recipe
	return train.Config{
		Adapters: c.Adapters, Rank: c.Rank, SharedRank: c.SharedRank,
		Loss:   train.Loss(c.Loss),
		Epochs: c.Epochs, LearningRate: c.LearningRate, StepTokens: c.StepTokens, MicroTokens: c.MicroTokens, MaxTokens: c.MaxTokens, Seed: c.Rows.Seed,
		Workers: r.o.Workers, Checkpoint: beside(r.o.Out, "", ".checkpoint"), Log: beside(r.o.Out, "", ".jsonl"), Plot: beside(r.o.Out, "", ".svg"),
		Progress: func(p train.Progress) {
			r.last = p
			if r.o.Progress != nil {
				r.o.Progress(Stage{Name: "train", Done: p.Step, Total: p.Steps, Step: &p})
			}
		},
	}
}

// beside names a trace of what is written to path.
func beside(path, name, ext string) string {
	base := strings.TrimSuffix(path, filepath.Ext(path))
	if name != "" {
		base += "-" + name
	}
	return base + ext
}

func (r *run) train() error {
	var err error
	r.params, err = r.fit(r.config(), r.data)
	return err
}

// fit trains on the accelerator, if there is one.
func (r *run) fit(c train.Config, data []train.Example) (*train.Params, error) {
	if r.o.Accelerator != nil {
		return r.o.Accelerator.Train(r.ctx, c, data)
	}
	w, err := reference.Load(r.model.File(), r.shape)
	if err != nil {
		return nil, err
	}
	return train.Run(r.ctx, c, w, data)
}

func (r *run) write() (*pool.Pool, error) {
	r.stage("write", 0, 0)
	c := r.o.Recipe
	var names []string
	var members []pool.Member
	if c.SharedRank > 0 {
		names = append(names, SharedName)
		members = append(members, pool.Member{Name: SharedName, Rank: c.SharedRank, Shared: true, Examples: len(r.picked)})
	}
	for i := range r.centroids {
		names = append(names, colour(i))
		n, covers := r.covers(i)
		members = append(members, pool.Member{Name: colour(i), Rank: c.Rank, Indicator: r.centroids[i], Examples: n, Covers: covers})
	}
	stack, err := adapter.NewStack(r.params.List(names))
	if err != nil {
		return nil, err
	}
	digest, err := gguf.Digest(r.o.Model)
	if err != nil {
		return nil, err
	}
	recipe, err := c.yaml()
	if err != nil {
		return nil, err
	}
	feature := "q1"
	if c.FeatureLayer > 0 {
		feature = fmt.Sprintf("h%d", c.FeatureLayer)
	}
	p := &pool.Pool{
		Name:    c.Name,
		Base:    pool.Base{Name: r.o.ModelName, Digest: digest, Lineage: r.lineage, Shape: r.shape},
		Feature: pool.Feature{Name: feature, Layer: c.FeatureLayer, Text: "question", MaxTokens: featureTokens, Mean: r.mean, Scale: r.scale, Tau: r.tau},
		Prompt:  r.prompt,
		Members: members, Stack: stack, Keep: c.Keep,
		Made: pool.Provenance{
			Created: time.Now().UTC().Format(time.RFC3339), Recipe: recipe, Seed: c.Rows.Seed, Licence: c.Licence,
			Loss: r.last.Loss, Examples: len(r.picked), Steps: r.last.Steps, Seconds: time.Since(r.started).Seconds(), Workers: r.o.Workers,
		},
	}
	r.card(p)
	t, err := c.storeType()
	if err != nil {
		return nil, err
	}
	return p.Write(r.o.Out, t)
}

// covers counts a cluster's rows and names the data sets most of them are from.
func (r *run) covers(cluster int) (rows int, most []string) {
	count := map[string]int{}
	for i, c := range r.of {
		if c == cluster {
			rows++
			count[r.picked[i].Dataset]++
		}
	}
	for name := range count {
		most = append(most, name)
	}
	sort.Slice(most, func(i, j int) bool {
		if count[most[i]] != count[most[j]] {
			return count[most[i]] > count[most[j]]
		}
		return most[i] < most[j]
	})
	return rows, most[:min(3, len(most))]
}
