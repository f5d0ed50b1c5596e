//! The directory from outside: CSV files and single entries, checked whole before anything is written.
