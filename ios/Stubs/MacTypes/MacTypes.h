// The type names of Apple's MacTypes.h, which every `import Foundation` brings on Apple's platforms and no import does
// on Linux. The type check imports this header into each file, so that a type of ours with one of these names is as
// ambiguous here as in Xcode.
//
// Source of the names: MacTypes.h of the iOS SDK (usr/include/MacTypes.h), part of the module Darwin. Names only: the
// types behind them are simplified, and those that Swift itself has (UInt8, Float32, Duration ...) are left out.
#pragma once
#include <stdint.h>

typedef struct wide { uint32_t lo; int32_t hi; } wide, *WidePtr;
typedef struct UnsignedWide { uint32_t lo; uint32_t hi; } UnsignedWide, *UnsignedWidePtr;
typedef int8_t SInt8;
typedef int16_t SInt16;
typedef int32_t SInt32;
typedef int64_t SInt64;

typedef int32_t Fixed, *FixedPtr;
typedef int32_t Fract, *FractPtr;
typedef uint32_t UnsignedFixed, *UnsignedFixedPtr;
typedef int16_t ShortFixed, *ShortFixedPtr;
typedef struct Float32Point { float x; float y; } Float32Point;

typedef char *Ptr;
typedef Ptr *Handle;
typedef long Size;

typedef int16_t OSErr;
typedef int32_t OSStatus;
typedef void *LogicalAddress;
typedef const void *ConstLogicalAddress;
typedef void *PhysicalAddress;
typedef uint8_t *BytePtr;
typedef unsigned long ByteCount;
typedef unsigned long ByteOffset;
typedef UnsignedWide AbsoluteTime;
typedef uint32_t OptionBits;
typedef unsigned long ItemCount;
typedef uint32_t PBVersion;
typedef int16_t ScriptCode;
typedef int16_t LangCode;
typedef int16_t RegionCode;
typedef uint32_t FourCharCode;
typedef FourCharCode OSType, *OSTypePtr;
typedef FourCharCode ResType, *ResTypePtr;
typedef void *PRefCon;
typedef void *URefCon;
typedef void *SRefCon;

typedef long (*ProcPtr)(void);
typedef ProcPtr *ProcHandle;
typedef void (*Register68kProcPtr)(void);
typedef ProcPtr UniversalProcPtr;
typedef UniversalProcPtr *UniversalProcHandle;

typedef uint32_t UnicodeScalarValue;
typedef uint32_t UTF32Char;
typedef uint16_t UniChar, *UniCharPtr;
typedef uint16_t UTF16Char;
typedef uint8_t UTF8Char;
typedef unsigned long UniCharCount, *UniCharCountPtr;
typedef unsigned char Str255[256], Str63[64], Str32[33], Str31[32], Str27[28], Str15[16], Str32Field[34];
typedef Str63 StrFileName;
typedef unsigned char *StringPtr;
typedef StringPtr *StringHandle;
typedef const unsigned char *ConstStringPtr;
typedef const unsigned char *ConstStr255Param, *ConstStr63Param, *ConstStr32Param, *ConstStr31Param;
typedef const unsigned char *ConstStr27Param, *ConstStr15Param, *ConstStrFileNameParam;

typedef struct ProcessSerialNumber { uint32_t high; uint32_t low; } ProcessSerialNumber, *ProcessSerialNumberPtr;

typedef struct Point { short v; short h; } Point, *PointPtr;
typedef struct Rect { short top; short left; short bottom; short right; } Rect, *RectPtr;
typedef struct FixedPoint { Fixed x; Fixed y; } FixedPoint;
typedef struct FixedRect { Fixed left; Fixed top; Fixed right; Fixed bottom; } FixedRect;

typedef short CharParameter;
typedef unsigned char Style;
typedef short StyleParameter;
typedef Style StyleField;

typedef int32_t TimeValue;
typedef int32_t TimeScale;
typedef wide CompTimeValue;
typedef int64_t TimeValue64;
typedef struct TimeBaseRecord *TimeBase;
typedef struct TimeRecord { CompTimeValue value; TimeScale scale; TimeBase base; } TimeRecord;

typedef struct NumVersion { uint8_t nonRelRev; uint8_t stage; uint8_t minor; uint8_t major; } NumVersion;
typedef union NumVersionVariant { NumVersion parts; uint32_t whole; } NumVersionVariant, *NumVersionVariantPtr;
typedef NumVersionVariantPtr *NumVersionVariantHandle;
typedef struct VersRec { NumVersion numericVersion; short countryCode; Str255 shortVersion; } VersRec, *VersRecPtr;
typedef VersRecPtr *VersRecHndl;

typedef uint8_t Byte;
typedef int8_t SignedByte;
