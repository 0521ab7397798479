"""Make a Core ML file: conversion, compression, names, and writing it completely or not at all."""
