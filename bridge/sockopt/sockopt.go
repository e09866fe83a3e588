// Package sockopt sets options of TCP connections that each system has under another name.
package sockopt
