package peer

// Kind is a piece of work that is timed.
type Kind string

// The kinds of work.
const (
	Prefill Kind = "prefill" // one prompt of Tokens tokens, logits of its last
	Decode  Kind = "decode"  // Tokens greedy steps after a prompt of 16 tokens
)

// Work is one timed piece of work.
type Work struct {
	Kind   Kind `json:"kind"`
	Tokens int  `json:"tokens"`
}

// Adapters is a set of random LoRA adapters in use on all linears, the same
// weights for both engines.
type Adapters struct {
	Rank   int       `json:"rank"`
	Scales []float32 `json:"scales"` // one an adapter
}

// Files of a model that llama.cpp may be given.
const (
	SameFile = ""     // the file that Crayon runs
	Q4_0File = "q4_0" // llama.cpp's own Q4_0 requantisation of it
)

// Contender is a choice that llama.cpp has for a row; of several the fastest
// counts.
type Contender struct {
	File        string `json:"file,omitempty"`         // SameFile or Q4_0File
	AdapterType string `json:"adapter_type,omitempty"` // "F32", "F16" or "Q8_0"
}

// Row is a line of the table: one work, both engines' way of doing it, and the
// name its ratio has on the last line.
type Row struct {
	Name     string
	Work     Work
	Model    string    // alias of the model
	Adapters *Adapters // of Crayon; nil for none
	// Merged tells that llama.cpp gets the adapters as one concatenated adapter
	// of their summed rank.
	Merged     bool
	Contenders []Contender
}

// Seed makes the random adapters the same in every run.
const Seed = 1

var (
	prefill = Work{Prefill, 512}
	decode  = Work{Decode, 128}
	same    = []Contender{{}}
	best    = []Contender{{File: Q4_0File}, {}}
	four    = &Adapters{Rank: 16, Scales: []float32{0.4, 0.3, 0.2, 0.1}}
	typed   = []Contender{{AdapterType: "F32"}, {AdapterType: "F16"}, {AdapterType: "Q8_0"}}
)

// Rows is the table. A run takes the first two unless told otherwise.
var Rows = []Row{
	{Name: "prefill", Work: prefill, Model: "smollm2-135m", Contenders: same},
	{Name: "decode", Work: decode, Model: "smollm2-135m", Contenders: same},
	{Name: "prefill_best", Work: prefill, Model: "smollm2-135m", Contenders: best},
	{Name: "decode_best", Work: decode, Model: "smollm2-135m", Contenders: best},
	{Name: "prefill_blend", Work: prefill, Model: "smollm2-135m", Adapters: four, Contenders: typed},
	{Name: "decode_blend", Work: decode, Model: "smollm2-135m", Adapters: four, Contenders: typed},
	{Name: "decode_concat", Work: decode, Model: "smollm2-135m", Adapters: four, Merged: true, Contenders: typed},
}

// Usual are the rows of a run that names none.
var Usual = []string{"prefill", "decode"}
