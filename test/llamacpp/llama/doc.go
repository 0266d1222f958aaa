// Package llama binds the part of llama.cpp's C interface (v0.5.0, as the npm
// package @node-llama-cpp/linux-x64@3.22.1 carries it) that Crayon's checks and
// comparisons need: load a model, evaluate tokens of several sequences, read
// logits, set LoRA adapters, requantise a file. It calls through purego, so it
// needs no C compiler, and it is for tests only: llama.cpp may abort() the
// process, so anything that must survive runs it in a child process.
//
// Linux on amd64 only: the structs are passed by value in that platform's
// layout, and Open checks their sizes against what the library itself writes.
package llama
