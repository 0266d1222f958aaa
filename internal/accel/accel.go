// Package accel says what an accelerator computes in the CPU's place. The CPU
// is the reference: an accelerator differs from it by rounding alone.
package accel

import (
	"context"

	"crayon/internal/adapter"
	"crayon/internal/model"
	"crayon/internal/train"
)

// Accelerator opens models on the devices of this machine.
type Accelerator interface {
	// Open loads the GGUF model at path on the first devices; 0 is one.
	Open(ctx context.Context, path string, devices int) (Engine, error)
}

// Engine is one model on its devices. Calls are not concurrent.
type Engine interface {
	// Name says in words what computes, such as "NVIDIA H200 x 2".
	Name() string

	// Train does what train.Run does.
	Train(ctx context.Context, c train.Config, examples []train.Example) (*train.Params, error)

	// Features does what model.Model.Features does: of each text the mean over
	// its tokens of the residual after the layer (0: the first query projection).
	Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error)

	// LogProbs does what model.Model.LogProbs does, beside a stack (nil: none)
	// at full precision of its sides. Caches of the asks are not used.
	LogProbs(ctx context.Context, stack *adapter.Stack, asks []model.Ask) ([][][]float32, error)

	Close() error
}

// Follower is the Engine of a process that computes what another leads.
type Follower interface {
	Engine

	// Follow does its share of what the leader is asked for, until the leader closes.
	Follow(ctx context.Context) error
}

// Grouped is the Accelerator of one of several processes that compute together.
// Open joins them: one gets an Engine that leads, the others get Followers.
type Grouped interface {
	Accelerator

	// Same has Open refuse to join processes that differ in the value, such as
	// a recipe's digest, by its name.
	Same(name, value string)

	// Address is where the processes meet, host:port.
	Address() string
}
