"""Making a Core ML file: conversion, compression, names, and files that are written whole or not at all."""
