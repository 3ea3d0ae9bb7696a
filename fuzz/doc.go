// Package fuzz plays tapes of commands against a store and a model that knows every version, on file systems that
// crash and fail.
package fuzz
